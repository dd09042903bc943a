"""Cameras of macOS, by a stand-in: they refuse FFmpeg's default frame rate, and do not wait for a frame."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from slowfast.errors import DecodeError
from slowfast.video.placement import full_frame
from tests.support.videos import read_stamps, write_video
from vtn.predictor.live import frames as frames_module
from vtn.predictor.live.frames import LiveFrames


class Camera:
    """A file as a camera of macOS gives it: most calls for a packet come too early."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else av.open(str(path))
        self.streams = [SimpleNamespace(average_rate=25, index=0)]
        self.size, self.duration = -1, None
        self._packets: Iterator[Any] = iter(()) if self._file is None else self._file.demux(video=0)

    def demux(self, *_: Any) -> Iterator[Any]:
        if self._file is not None:
            yield next(self._packets)
        raise av.BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two looks for a frame."""
    waits: list[float] = []
    monkeypatch.setattr(frames_module, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(frames_module, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(frames_module, "choose_video_stream", lambda container, name: container.streams[0])
    return waits


def follow(camera: Camera, monkeypatch: pytest.MonkeyPatch, place: str = "0") -> tuple[list[int], list[Any]]:
    """Returns the numbers of the frames that a camera gave, and how it was opened."""
    opened: list[Any] = []

    def open_camera(*args: Any, **options: Any) -> Camera:
        opened.extend([args, options])
        return camera

    monkeypatch.setattr(av, "open", open_camera)
    live = LiveFrames(place, full_frame(), fps=25, seconds=0.2)
    numbers: list[int] = []
    for images, _ in live:
        live.num_taken += 1
        numbers += read_stamps(images)
    return numbers, opened


def test_a_camera_of_a_mac_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    camera = Camera(write_video(tmp_path / "a.mp4", 12, fps=25))
    numbers, opened = follow(camera, monkeypatch)
    assert numbers == list(range(12))
    assert len(waits) == 12
    assert opened == [("0",), {"format": "avfoundation", "options": {"framerate": "30"}}]


def test_a_camera_that_never_gives_a_frame_is_an_error(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    with pytest.raises(DecodeError, match=r"no frames .the camera gives none; allow the terminal to use it"):
        follow(Camera(None), monkeypatch)
    assert sum(waits) == pytest.approx(30)


def test_a_stream_that_never_gives_a_frame_is_not_called_a_camera(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr(frames_module, "open_container", lambda _: Camera(None))
    with pytest.raises(DecodeError, match=r"no frames .nothing came; check the source and its connection"):
        follow(Camera(None), monkeypatch, place="udp://127.0.0.1:9")
