"""Parts of PyAV's interface that differ between the versions that the project admits."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type

from slowfast.video import frame_scaler
from slowfast.video.decoding import open_video
from slowfast.video.orientation import UPRIGHT, orientation_of
from tests.support.processes import run_all
from tests.support.videos import write_video

ONE = 1 << 16  # fixed-point numbers with 16 bits after the point


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((ONE, 0, 0, ONE), (1, 0, 0, 1)),
        ((0, ONE, -ONE, 0), (0, 1, -1, 0)),
        ((-ONE, 0, 0, ONE), (-1, 0, 0, 1)),
    ],
    ids=["upright", "rotated", "mirrored"],
)
def test_the_display_matrix_is_read_by_key(
    matrix: tuple[int, ...], expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side data is a mapping: iteration yields keys from PyAV 19 on, and values in earlier versions."""
    a, b, c, d = matrix
    numbers = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)
    monkeypatch.setattr("slowfast.video.orientation.SideDataContainer", lambda frame: frame)
    assert orientation_of({Type.DISPLAYMATRIX: numbers.tobytes()}).matrix == expected
    assert orientation_of({}) == UPRIGHT


def test_frames_are_freed_once_they_are_converted(tmp_path: Path) -> None:
    """PyAV 18 keeps the side data that a frame is asked for in the frame, which it refers to."""
    path = write_video(tmp_path / "a.mp4", 20)

    def count_frames() -> int:
        return sum(type(one) is av.VideoFrame for one in gc.get_objects())

    gc.collect()
    before = count_frames()
    gc.disable()
    try:
        with open_video(path) as video:
            video.read(np.arange(20))
        assert count_frames() - before <= 2  # the decoder keeps one for its next frame
    finally:
        gc.enable()


def test_a_process_that_is_forked_from_another_thread_has_no_scaler_to_wait_for() -> None:
    """Since PyAV 19 a thread that has converted a frame keeps a scaler, whose threads a fork leaves out."""
    assert frame_scaler  # whose import sees to it
    av.VideoFrame(640, 480, "yuv420p").to_ndarray(format="rgb24")  # here, in the main thread
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.extend(run_all(int, [()], seconds=20)))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no scheduling policies")
def test_videos_of_tests_leave_the_scheduling_as_it_was(tmp_path: Path) -> None:
    """SVT-AV1 makes the thread that encodes a real-time thread, where the user is root."""
    before = os.sched_getscheduler(0)
    write_video(tmp_path / "a.mp4", 2, codec="libsvtav1", preset="13")
    assert os.sched_getscheduler(0) == before
