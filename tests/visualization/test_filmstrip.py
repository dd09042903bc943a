"""Filmstrips of videos of any shape."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slowfast.visualization.filmstrip import FRAME_HEIGHT, cut_filmstrip
from tests.support.videos import write_video


@pytest.mark.parametrize("size", [(1000, 2), (2, 1000)])
def test_very_narrow_and_very_wide_videos_have_a_filmstrip(tmp_path: Path, size: tuple[int, int]) -> None:
    """Scaled to the height of a strip, one has a width of less than a pixel, the other more than a file."""
    path = tmp_path / "video.mp4"
    write_video(path, [np.full((*size, 3), 128, np.uint8)] * 4, size=size, codec="mpeg4")
    image, seconds = cut_filmstrip(str(path), 4)
    strip = Image.open(io.BytesIO(image))
    assert len(seconds) == 4
    assert strip.height == FRAME_HEIGHT
    assert strip.width >= 4
