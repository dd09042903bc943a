"""A trained checkpoint, the folder that is published from it, and videos of many kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from tests.support.tiny import tiny_config
from tests.support.tiny_models import ALL_BLOCKS, SMALL_VTN, publish_folder, trained_checkpoint
from tests.support.videos import write_csv, write_video


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``test.csv`` of videos of 1 to 70 frames and two that cannot be decoded."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [
        write_video(folder / f"{frames:02}.mp4", frames, size=(48, 64 if frames % 2 else 48), fps=10)
        for frames in (1, 5, 12, 13, 20, 70)
    ]
    (folder / "broken.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    paths = [*paths[:2], folder / "broken.mp4", *paths[2:], folder / "empty.mp4"]
    write_csv(folder / "test.csv", [(path, 0) for path in paths])
    return folder


@pytest.fixture(scope="session")
def cfg(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> CfgNode:
    """The configuration of a tiny VTN that is tested on full videos; more than 32 frames are streamed."""
    return tiny_config(
        *(videos, tmp_path_factory.mktemp("run"), *SMALL_VTN, *ALL_BLOCKS),
        *("TRAIN.ENABLE", False, "TRAIN.EVAL_STREAM_FRAMES", 32, "DATA.TARGET_FPS", 10),
    )


@pytest.fixture(scope="session")
def checkpoint(cfg: CfgNode) -> Path:
    """A checkpoint with its configuration and class names inside."""
    return trained_checkpoint(cfg, Path(cfg.OUTPUT_DIR))


@pytest.fixture(scope="session")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``vtn publish`` writes from the checkpoint."""
    return publish_folder(checkpoint, tmp_path_factory.mktemp("published"))
