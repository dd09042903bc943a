"""A published folder of a tiny VTN, and videos, for the real ``transformers``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_models import publish_tiny
from tests.support.videos import write_video


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Number of frames -> a video at 10 frames per second; 70 are streamed by the evaluation."""
    folder = tmp_path_factory.mktemp("videos")
    return {
        frames: write_video(folder / f"{frames:02}.mp4", frames, size=(48, 64), fps=10)
        for frames in (1, 12, 70)
    }


@pytest.fixture(scope="session")
def publish_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that publishes a VTN of three classes and returns its folder; arguments change keys."""

    def publish_model(*changes: Any) -> Path:
        return publish_tiny(tmp_path_factory.mktemp("model"), "TRAIN.EVAL_STREAM_FRAMES", 32, *changes)

    return publish_model


@pytest.fixture(scope="session")
def published(publish_model: Callable[..., Path]) -> Path:
    """The folder that ``vtn publish`` writes."""
    return publish_model()
