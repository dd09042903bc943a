"""Several readings of one open video, or of one file object, do not disturb each other."""

from __future__ import annotations

import inspect
import io
from collections.abc import Generator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from slowfast.video import coded_stream, image_folder
from slowfast.video.container import open_container
from slowfast.video.decoding import decode, open_video
from tests.support.odd_files import decode_in_order
from tests.support.videos import write_video

FRAMES = 120
KINDS: dict[str, dict[str, Any]] = {
    "key_frames.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "equal_sizes.avi": {"codec": "rawvideo"},
    "equal_sizes.mkv": {"codec": "rawvideo"},
    "references.mp4": {"bf": "2"},
    "references.avi": {"codec": "mpeg4"},
    "references.ts": {},
    "vp9.webm": {"codec": "libvpx-vp9", "cpu-used": "8"},
}


pytestmark = pytest.mark.usefixtures("keep_bytes")


@pytest.mark.parametrize("in_memory", [False, True], ids=["path", "file object"])
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_read_while_chunks_and_a_stream_of_the_same_video_are(
    kind: str, in_memory: bool, tmp_path: Path
) -> None:
    path = write_video(tmp_path / kind, FRAMES, gop=12, **KINDS[kind])
    truth = decode_in_order(path)
    rng = np.random.default_rng(0)
    with open_video(io.BytesIO(path.read_bytes()) if in_memory else path) as video:
        streamed = video.stream()
        for number, chunk in enumerate(video.read_chunks(np.arange(FRAMES), 7)):
            np.testing.assert_array_equal(chunk, truth[7 * number : 7 * number + 7])
            indices = rng.integers(0, FRAMES, 2)
            np.testing.assert_array_equal(video.read(indices), truth[indices])
            np.testing.assert_array_equal(next(streamed), truth[number])
        np.testing.assert_array_equal(video.read([3]), truth[[3]])


@pytest.mark.parametrize("kind", KINDS)
def test_one_file_object_is_read_by_two_videos(kind: str, tmp_path: Path) -> None:
    """Tests the second decoder of a damaged video, which reads the same object from another position."""
    path = write_video(tmp_path / kind, FRAMES, gop=12, **KINDS[kind])
    truth = decode(path)
    file = io.BytesIO(path.read_bytes())
    with open_video(file) as one, open_video(file) as other:
        ahead = one.read_chunks(np.arange(FRAMES), 7)
        behind = other.read_chunks(np.arange(50, FRAMES), 7)
        chunks = list(zip_longest(ahead, behind))
    np.testing.assert_array_equal(np.concatenate([chunk for chunk, _ in chunks]), truth)
    np.testing.assert_array_equal(np.concatenate([c for _, c in chunks if c is not None]), truth[50:])


def test_gaps_of_a_file_object_leave_the_other_frames_exact(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", FRAMES, codec="mjpeg", pix_fmt="yuvj420p")
    truth = decode(path)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in (20, 50, 51, 80):
        at = content.index(packets[number])
        content[at : at + len(packets[number])] = bytes(len(packets[number]))
    missing: set[int] = set()
    with open_video(io.BytesIO(content)) as video:
        frames = np.concatenate(list(video.read_chunks(np.arange(FRAMES), 7, None, missing)))
    assert missing == {20, 50, 51, 80}
    sound = np.setdiff1d(np.arange(FRAMES), list(missing))
    np.testing.assert_array_equal(frames[sound], truth[sound])


class Container:
    """PyAV's container, which keeps all generators of packets that it has returned."""

    readings: list[Generator[Any, None, None]]

    def __init__(self, container: Any, readings: list[Generator[Any, None, None]]) -> None:
        self._container, self.readings = container, readings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def demux(self, stream: Any) -> Generator[Any, None, None]:
        self.readings.append(packet for packet in self._container.demux(stream))
        return self.readings[-1]


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder of images"])
def test_each_reading_of_packets_is_closed(
    is_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyAV frees the buffer of a reading neither with the container nor with the generator of packets."""
    readings: list[Generator[Any, None, None]] = []
    for module in (coded_stream, image_folder):
        monkeypatch.setattr(module, "open_container", lambda path: Container(open_container(path), readings))
    if is_folder:
        Image.new("RGB", (32, 32)).save(tmp_path / "1.jpg")
        with image_folder.ImageFolder(str(tmp_path), fps=25.0) as images:
            images.read(np.array([0]))
    else:
        with open_video(write_video(tmp_path / "a.mp4", FRAMES, gop=12)) as video:
            video.read(np.array([110, 3, 50]))
            next(video.stream())
    assert readings
    assert all(inspect.getgeneratorstate(reading) == inspect.GEN_CLOSED for reading in readings)
