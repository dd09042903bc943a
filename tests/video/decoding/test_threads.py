"""Decoding in several threads, and videos that are closed while threads decode them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, open_video, stream
from slowfast.video.frame_table import scan
from tests.support.decoding.encodings import ENCODINGS, FRAMES
from tests.support.processes import run_all, run_forked
from tests.support.videos import write_video


@pytest.mark.parametrize("name", ["h264-b.ts", "h264-open.mkv", "hevc-open.mkv", "vp9-odd.webm", "mpeg4.avi"])
def test_threads_give_the_same_frames(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, **ENCODINGS[name])
    indices = [33, 2, 2, 17, 25, 39, 11]
    np.testing.assert_array_equal(decode(path, indices=indices, threads=3), decode(path, indices=indices))
    assert len(list(stream(path, threads=3))) == FRAMES


def close_early(path: str, rounds: int) -> None:
    for number in range(rounds):
        with open_video(path, threads=2) as video:
            chunks = video.read_chunks(np.arange(video.times.num_frames), 16)
            for _ in range(number % 7):
                next(chunks)


@pytest.mark.faults
def test_a_video_that_is_closed_while_threads_decode_it_does_not_hang(tmp_path: Path) -> None:
    """PyAV's own callback for messages takes the interpreter's lock, which the closing thread holds."""
    path = write_video(tmp_path / "v.mp4", 600, size=(240, 320))
    assert run_all(close_early, [(str(path), 200)], seconds=200) == [0]


def close_while_a_thread_reads(path: str, threads: int, rounds: int) -> None:
    scan._KEEP_BYTES = 0  # as for a large file, which is read again
    for number in range(rounds):
        video = open_video(path, threads=threads)
        indices = np.arange(video.times.num_frames)
        chunks = video.read_chunks(indices, 16)
        errors: list[DecodeError] = []
        thread = threading.Thread(target=read_to_the_end, args=(chunks, errors))
        thread.start()
        time.sleep(0.001 * number)
        video.close()
        thread.join()
        assert all(error.reason == "closed" for error in errors), errors


def read_to_the_end(chunks: Iterator[np.ndarray], errors: list[DecodeError]) -> None:
    try:
        for _ in chunks:
            pass
    except DecodeError as error:
        errors.append(error)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_video_that_is_closed_while_another_thread_reads_it_ends_the_reading(
    threads: int, tmp_path: Path
) -> None:
    """PyAV itself reads freed memory there, which ends the process."""
    path = write_video(tmp_path / "v.mp4", 600, size=(240, 320))
    assert run_forked(close_while_a_thread_reads, str(path), threads, 40) == 0


def test_messages_of_decoding_threads_never_wait_for_the_interpreter(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 20)
    av.logging.set_level(av.logging.ERROR)  # as the torchvision of torch 2.9 does when it is imported
    with open_video(str(path)) as video:
        assert av.logging.get_level() is None
        assert video.describe_damage() == ""
    assert av.logging.get_level() is None


def test_a_refused_video_keeps_its_reason_while_another_is_opened(tmp_path: Path) -> None:
    """The level is one for all threads; PANIC is that of a second try, for the reason."""
    path = write_video(tmp_path / "v.mp4", 2)
    av.logging.set_level(av.logging.PANIC)
    try:
        with open_video(str(path)):
            assert av.logging.get_level() == av.logging.PANIC
    finally:
        av.logging.set_level(None)
