"""A video, and one whose frames cannot all be decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.inference.video import FRAMES
from tests.support.videos import overwrite_packets, write_video


@pytest.fixture(scope="session")
def video_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of ``FRAMES`` frames."""
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", FRAMES, size=(32, 32), bf="2")


@pytest.fixture(scope="session")
def damaged_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of key frames alone, of which frames 50 to 119 are overwritten with zeros."""
    folder = tmp_path_factory.mktemp("damaged")
    options = {"size": (32, 32), "codec": "mjpeg", "pix_fmt": "yuvj420p"}
    intact = write_video(folder / "intact.avi", FRAMES, **options)
    return overwrite_packets(intact, folder / "damaged.avi", 50, 120)
