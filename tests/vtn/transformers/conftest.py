"""A published folder of a tiny VTN, and videos, for the real ``transformers``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN, trained_checkpoint
from tests.support.videos import write_csv, write_video
from vtn.publishing.publish import publish


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Number of frames -> a video at 10 frames per second; 70 are streamed by the evaluation."""
    folder = tmp_path_factory.mktemp("videos")
    return {
        frames: write_video(folder / f"{frames:02}.mp4", frames, size=(48, 64), fps=10)
        for frames in (1, 12, 70)
    }


@pytest.fixture(scope="session")
def publish_tiny(videos: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that publishes a VTN of three classes and returns its folder; arguments change keys."""

    def publish_model(*overrides: Any) -> Path:
        folder = tmp_path_factory.mktemp("model")
        write_csv(folder / "test.csv", [(path, 0) for path in videos.values()])
        cfg = tiny_config(
            *(folder, folder / "run", *SMALL_VTN, "TRAIN.ENABLE", False, "TRAIN.EVAL_STREAM_FRAMES", 32),
            *("DATA.TARGET_FPS", 10, *overrides),
        )
        published = publish(trained_checkpoint(cfg, Path(cfg.OUTPUT_DIR)), folder, name="TINY").folder
        assert published is not None
        return published

    return publish_model


@pytest.fixture(scope="session")
def published(publish_tiny: Callable[..., Path]) -> Path:
    """The folder that ``vtn publish`` writes."""
    return publish_tiny()
