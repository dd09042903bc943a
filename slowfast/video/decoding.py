"""Public functions for exact frames of a video, whatever decodes it.

T frames, H W pixels, N frames of the video.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Protocol, Self

import av
import numpy as np

from slowfast.errors import InputError, check_positive
from slowfast.log import get_logger, log_once
from slowfast.video.archive.tar_file import find_member
from slowfast.video.container import Source
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placer, full_frame
from slowfast.video.pyav_video import PyAVVideo

_logger = get_logger(__name__)


class OpenVideo(Protocol):
    """An open video file or folder of images: its frame times, and its frames on request."""

    @property
    def times(self) -> FrameTimes:
        """The display times of the N frames."""
        ...

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Returns the frames of the given indices (T,), in [0, N), as (T, H, W, 3) uint8 RGB.

        Raises:
            InputError: for an index outside [0, N).
        """
        ...

    def read_chunks(
        self,
        indices: np.ndarray,
        chunk_frames: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the frames of ascending indices in chunks (t, H, W, 3) uint8 RGB, t = ``chunk_frames``.

        Args:
            missing: collects the indices of frames that cannot be decoded; None: such frames are an error.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_video(source: Source, backend: str = "pyav", threads: int = 1) -> PyAVVideo:
    """Opens a video file for reading; close it, or use it in a ``with`` statement.

    The result knows the display time of each frame (``times``) and reads the frames of given indices
    (``read``), all frames in order (``stream``), or many frames in chunks (``read_chunks``).

    Args:
        source: a path; the name of a member of a tar archive, such as ``shard-000001.tar: 000123.mp4``; or a
            seekable binary file.
        backend: "pyav"; or "torchcodec", which falls back to PyAV where torchcodec cannot be loaded. PyAV
            decodes for ``stream`` and ``read_chunks`` in any case.
        threads: number of decoding threads; see :class:`PyAVVideo`.

    Raises:
        DecodeError: if the source is not a decodable video.
        InputError: for another object than a path or a file, another backend, and less than one thread.

    Example:
        >>> with open_video("tiny.mp4") as video:  # two seconds, 10 frames per second
        ...     video.times.num_frames, video.times.duration
        ...     video.read([0, 7, 19]).shape
        (20, 2.0)
        (3, 48, 64, 3)
    """
    if not (isinstance(source, str | os.PathLike) or hasattr(source, "read")):
        raise InputError(
            f"source is a {type(source).__name__}: must be a path or a seekable binary file; io.BytesIO "
            "holds bytes"
        )
    if backend not in ("pyav", "torchcodec"):
        raise InputError(f"backend = {backend!r}: must be pyav or torchcodec")
    check_positive(threads=threads)
    if isinstance(source, str):
        source = find_member(source)
    if backend == "torchcodec":
        # Imported only on request: it loads torchvision and FFmpeg's libraries.
        from slowfast.video.torchcodec_video import TorchCodecVideo, torchcodec_version

        if torchcodec_version() is not None:
            return TorchCodecVideo(source, threads)
    return PyAVVideo(source, threads)


def open_naming_truncated(source: Source, backend: str = "pyav", threads: int = 1) -> PyAVVideo:
    """Opens a video as :func:`open_video` does; one that lacks its end is named in the log."""
    video = open_video(source, backend, threads)
    try:
        missing = video.describe_missing()
    except BaseException:
        video.close()
        raise
    if missing:
        text = f"{video.name}: is truncated ({missing}); `slowfast prepare scan` finds such videos"
        log_once(_logger, text, logging.WARNING)
    return video


def describe_backend(backend: str) -> str:
    """Returns the names and versions of the decoding libraries, for the log."""
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    pyav = f"PyAV {av.__version__} (libavcodec {ffmpeg})"
    if backend == "torchcodec":
        from slowfast.video.torchcodec_video import torchcodec_version

        version = torchcodec_version()
        if version is None:
            return f"{pyav}, because torchcodec or the FFmpeg libraries that it needs cannot be loaded"
        return f"torchcodec {version}; {pyav} for chunks of frames"
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
        source: a path, or a seekable binary file.
        indices: (T,) frame indices in [0, N), in any order, repeats allowed.
        seconds: (T,) times from the first frame on, instead of ``indices``: the frames on screen then.
            With neither ``indices`` nor ``seconds``, all N frames are decoded.
        size: short side in pixels to scale to; None keeps the size of the video.
        backend: "pyav" or "torchcodec"; see :func:`open_video`.
        threads: number of decoding threads; see :class:`PyAVVideo`.

    Returns:
        (T, H, W, 3) uint8, RGB.

    Raises:
        DecodeError: if the source is not a decodable video, or if a chosen frame cannot be decoded.
        InputError: for an index outside [0, N), or a time that is not a number; for a mask or fractions in
            place of indices; for another size or source.

    Example:
        >>> decode("tiny.mp4", indices=[0, 7, 19]).shape
        (3, 48, 64, 3)
        >>> decode("tiny.mp4", seconds=[0.0, 1.5], size=24).shape
        (2, 24, 32, 3)
    """
    if size is not None and not (isinstance(size, int | np.integer) and int(size) > 0):
        raise InputError(f"size = {size!r}: must be the short side in pixels, 1 or more")
    with open_video(source, backend, threads) as video:
        if seconds is not None:
            chosen = video.times.at_seconds(np.asarray(seconds))
        elif indices is not None:
            chosen = np.asarray(indices)
        else:
            chosen = np.arange(video.times.num_frames)
        return video.read(chosen, full_frame(size))


def stream(
    source: Source, *, size: int | None = None, backend: str = "pyav", threads: int = 1
) -> Iterator[np.ndarray]:
    """Yields all frames of a video in display order; memory does not grow with its length.

    The arguments are those of :func:`decode`.

    Yields:
        (H, W, 3) uint8, RGB; valid until the next frame is taken, copy it to keep it.

    Raises:
        DecodeError: if the source is not a decodable video.

    Example:
        >>> {frame.shape for frame in stream("tiny.mp4", size=24)}
        {(24, 32, 3)}
    """
    with open_video(source, backend, threads) as video:
        yield from video.stream(full_frame(size))
