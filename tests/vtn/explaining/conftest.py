"""A published folder of a tiny VTN with a timm transformer, and videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN, trained_checkpoint
from tests.support.videos import write_csv, write_video
from vtn.publishing.publish import publish


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``test.csv`` of videos of 1 to 24 frames, the first of one frame and the last broken."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [
        write_video(folder / f"{frames:02}.mp4", frames, size=(48, 64), fps=10) for frames in (1, 6, 13, 24)
    ]
    (folder / "broken.mp4").write_text("not a video")
    write_csv(folder / "test.csv", [(path, 0) for path in [*paths, folder / "broken.mp4"]])
    return folder


@pytest.fixture(scope="session")
def published(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``vtn publish`` writes."""
    cfg = tiny_config(
        videos, tmp_path_factory.mktemp("run"), *SMALL_VTN, "TRAIN.ENABLE", False, "DATA.TARGET_FPS", 10
    )
    checkpoint = trained_checkpoint(cfg, Path(cfg.OUTPUT_DIR))
    folder = publish(checkpoint, tmp_path_factory.mktemp("published"), name="TINY").folder
    assert folder is not None
    return folder
