"""Decoding in one call, whatever the backend.

T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

import av
import numpy as np

from slowfast.video.container import Source
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placer, whole_picture
from slowfast.video.pyav_video import PyAVVideo


class OpenVideo(Protocol):
    """An open video file, or a folder of images."""

    @property
    def times(self) -> FrameTimes: ...

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray: ...

    def read_chunks(
        self, indices: np.ndarray, size: int, placer: Placer | None = None
    ) -> Iterator[np.ndarray]: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_video(source: Source, backend: str = "pyav", threads: int = 1) -> PyAVVideo:
    """Opens a video file, to be closed or used in a ``with`` statement.

    Args:
        source: a path, or a seekable binary file.
        backend: "pyav", or "torchcodec", which gives way to it where it cannot be loaded.
        threads: that decode; see :class:`PyAVVideo`.

    Raises:
        DecodeError: for whatever is no decodable video.
    """
    if backend == "torchcodec":
        # Imported only when asked for: it loads torchvision, and FFmpeg's libraries.
        from slowfast.video.torchcodec_video import TorchCodecVideo, torchcodec_version

        if torchcodec_version() is not None:
            return TorchCodecVideo(source, threads)
    return PyAVVideo(source, threads)


def describe_backend(backend: str) -> str:
    """What decodes, with versions, for the log."""
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    pyav = f"PyAV {av.__version__} (libavcodec {ffmpeg})"
    if backend == "torchcodec":
        from slowfast.video.torchcodec_video import torchcodec_version

        version = torchcodec_version()
        if version is None:
            return f"{pyav}, as torchcodec or the FFmpeg libraries that it needs cannot be loaded"
        return f"torchcodec {version}"
    return pyav


def decode(
    source: Source,
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    seconds: Sequence[float] | np.ndarray | None = None,
    size: int | None = None,
    backend: str = "pyav",
    threads: int = 1,
) -> np.ndarray:
    """Decodes chosen frames of a video.

    Args:
        indices: (T,) frame indices; or
        seconds: (T,) times from the first frame on; the frame on screen at each. Neither: all frames.
        size: short side to scale to; None: as it is.
        threads: that decode; see :class:`PyAVVideo`.

    Returns:
        (T, H, W, 3) uint8, RGB.

    Raises:
        DecodeError: for whatever cannot be decoded.
    """
    with open_video(source, backend, threads) as video:
        if seconds is not None:
            chosen = video.times.at_seconds(np.asarray(seconds))
        elif indices is not None:
            chosen = np.asarray(indices, np.int64)
        else:
            chosen = np.arange(video.times.num_frames)
        return video.read(chosen, whole_picture(size))


def stream(
    source: Source, *, size: int | None = None, backend: str = "pyav", threads: int = 1
) -> Iterator[np.ndarray]:
    """Yields all frames in order, (H, W, 3) uint8; memory stays flat."""
    with open_video(source, backend, threads) as video:
        yield from video.stream(whole_picture(size))
