"""Videos whose frames do not fit in the memory."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import open_video
from tests.support.processes import run_forked
from tests.support.videos import write_video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit addresses")


def read_with_little_memory(path: Path) -> int:
    """Returns whether reading the frames ends with the error of the memory."""
    with open_video(path) as video:
        indices = np.arange(video.times.num_frames)
        limit = psutil.Process().memory_info().vms + 2**23
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            video.read(indices)
        except DecodeError as error:
            return error.reason == "memory"
    return False


def test_a_video_for_which_the_memory_does_not_suffice_is_not_corrupt(tmp_path: Path) -> None:
    # A frame is larger than what the C library may keep of memory that was freed (32 MB).
    path = write_video(tmp_path / "large.mp4", [np.zeros((4096, 5632, 3), np.uint8)], codec="mpeg4")
    assert run_forked(read_with_little_memory, path) == 1
