"""Requests that cannot be met, for frames that do not exist or after a close, are errors with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError, InputError
from slowfast.video.decoding import OpenVideo, decode, open_video
from slowfast.video.image_folder import ImageFolder
from slowfast.video.packets import PacketSource
from slowfast.video.torchcodec_video import TorchCodecVideo
from tests.support.videos import read_stamps, stamp, write_video
from vtn.predictor.videos import ArrayVideo

FRAMES = 12


def write_folder(folder: Path) -> str:
    for number in range(FRAMES):
        av.VideoFrame.from_ndarray(stamp(number), format="rgb24").save(str(folder / f"{number}.png"))
    return str(folder)


KINDS: dict[str, Callable[[Path], OpenVideo]] = {
    "one thread": lambda folder: open_video(write_video(folder / "a.mp4", FRAMES, gop=6, bf="2")),
    "two threads": lambda folder: open_video(write_video(folder / "a.mp4", FRAMES, gop=6), threads=2),
    "counted frames": lambda folder: open_video(write_video(folder / "a.avi", FRAMES, bf="2")),
    "torchcodec": lambda folder: TorchCodecVideo(write_video(folder / "a.mp4", FRAMES)),
    "folder": lambda folder: ImageFolder(write_folder(folder), fps=25),
    "frames in memory": lambda _: ArrayVideo(np.stack([stamp(number) for number in range(FRAMES)]), 25),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [-1, FRAMES, 200, -FRAMES])
def test_an_index_that_does_not_exist_is_an_error(kind: str, wrong: int, tmp_path: Path) -> None:
    with KINDS[kind](tmp_path) as video:
        for indices in ([wrong], [3, wrong, 4]):
            with pytest.raises(InputError, match=f"frame index {wrong} does not exist.*from 0 to 11"):
                video.read(np.array(indices))
        with pytest.raises(InputError, match=f"frame index {wrong} does not exist"):
            list(video.read_chunks(np.array(sorted([0, wrong])), 1))


WRONG: dict[str, list[tuple[str, Any]]] = {
    # A mask was read as frames 0 and 1, and fractions were cut off.
    r"must be whole numbers \(frames,\)": [("indices", wrong) for wrong in ([True] * 60, [0.5], 3, [[0, 1]])],
    "must be the short side in pixels": [("size", wrong) for wrong in (0, -3, 32.5, "32", (32, 48))],
    "threads = .*: must be": [("threads", 0), ("threads", "2")],
    "backend = .*: must be": [("backend", "torchcodc"), ("backend", None)],
    "times in seconds must be numbers": [
        ("seconds", wrong) for wrong in (slice(0, 3), iter([0.5]), ["soon"])
    ],
    "a time in seconds is NaN": [("seconds", [0.0, np.nan])],
}


@pytest.mark.parametrize(
    ("message", "name", "value"), [(message, *wrong) for message in WRONG for wrong in WRONG[message]]
)
def test_a_wrong_argument_is_an_error(message: str, name: str, value: Any, stamped_video: Path) -> None:
    with pytest.raises(InputError, match=message):
        decode(stamped_video, **{name: value})


@pytest.mark.parametrize("source", [b"bytes", None, 7])
def test_what_is_neither_a_path_nor_a_file_is_an_error(source: Any) -> None:
    with pytest.raises(InputError, match=r"must be a path or a seekable binary file; io\.BytesIO"):
        open_video(source)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_request_for_no_frames_gives_none(threads: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", FRAMES, gop=6)
    assert len(decode(path, indices=[], threads=threads)) == 0
    assert read_stamps(decode(path, indices=[5, 0], threads=threads)) == [5, 0]


def test_a_video_that_is_closed_between_two_steps_of_its_reader_ends_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may close it after the decoder was reset and before the first packet is taken."""
    source = PacketSource(write_video(tmp_path / "v.mp4", 20))
    assert source.table.times.num_frames == 20  # the packets of a small file are kept from now on
    plain = PacketSource.flush
    monkeypatch.setattr(PacketSource, "flush", lambda self: [plain(self), self.close()])
    with pytest.raises(DecodeError, match="closed"):
        next(source.decode_all())
