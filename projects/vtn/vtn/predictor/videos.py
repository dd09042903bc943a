"""Videos that a user names: files, folders, patterns, lists, arrays, cameras and addresses.

T frames of a video, t frames of a read, H W pixels.
"""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, TypeAlias, cast, runtime_checkable

import av
import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.video_folder import scan_folder
from slowfast.errors import InputError, check_positive
from slowfast.video.container import Address, without_secrets
from slowfast.video.decoding import OpenVideo, open_naming_truncated
from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.frame_times import even_times
from slowfast.video.placement import Placer, full_frame
from vtn.predictor.reading.download import download

Video: TypeAlias = str | os.PathLike[str] | BinaryIO | np.ndarray | Tensor
"""A path or an address; an open, seekable binary file; or frames (T, H, W, 3) uint8 RGB."""

STANDARD_INPUT = "-"

_ADDRESS = re.compile(r"(rtsps?|rtmps?|https?|srt|udp)://\S+", re.IGNORECASE)
_ENDLESS = ("rtsp", "rtmp", "srt", "udp")
_PATTERN = frozenset("*?[")
_LISTS = (".csv", ".tsv", ".txt")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
_PATH_AND_LABEL = re.compile(r"(.*[^\s,])[\s,]+\S+")
ADDRESS_HINT = "an address begins with http, https, rtsp, rtsps, rtmp, rtmps, srt or udp, and ://"
_GIVE_PATHS = (
    "give the paths without labels, such as by sed -E 's/[[:space:],;]+[0-9,;]+$//' LIST | vtn predict "
    "SOURCE -"
)


class ArrayVideo:
    """Frames in memory with the interface of an open video file.

    Args:
        frames: (T, H, W, 3) uint8 RGB, at least one.
        fps: frames per second.

    Attributes:
        times: the display times of the T frames.
    """

    def __init__(self, frames: np.ndarray, fps: float) -> None:
        self._frames = frames
        self.times = even_times(len(frames), fps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes nothing."""

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Returns the placed frames of the given indices, (t, H, W, 3) uint8."""
        indices = self.times.checked(indices, "frames")
        scaler = FrameScaler(len(indices), placer or full_frame(), "frames")
        for slot, index in enumerate(indices.tolist()):
            image = np.ascontiguousarray(self._frames[index])
            scaler.put(av.VideoFrame.from_ndarray(image, format="rgb24"), [slot])
        return scaler.frames()

    def read_chunks(
        self,
        indices: np.ndarray,
        chunk_frames: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the frames of ascending indices in chunks; none of them can be missing."""
        for start in range(0, len(indices), chunk_frames):
            yield self.read(indices[start : start + chunk_frames], placer)


@runtime_checkable
class VideoSource(Protocol):
    """A video that can be opened any number of times.

    Attributes:
        name: for messages and results.
    """

    @property
    def name(self) -> str: ...

    def open(self, threads: int = 1) -> OpenVideo:
        """Opens the video for decoding by that number of threads.

        Raises:
            DecodeError: for a source that is not a decodable video.
        """
        ...


@dataclass(frozen=True)
class FileSource:
    """A video file by its path, an open file, or an address.

    Attributes:
        place: a path or an open file, or an address, which each call of :meth:`open` copies from the network.
        name: of the video.
    """

    place: str | BinaryIO | Address
    name: str

    def open(self, threads: int = 1) -> OpenVideo:
        """Opens the file, see :class:`VideoSource`; one that lacks its end is named in the log."""
        place = download(self.place) if isinstance(self.place, Address) else self.place
        return open_naming_truncated(place, threads=threads)


@dataclass(frozen=True)
class ArraySource:
    """Frames in memory.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        fps: frames per second.
        name: of the video.
    """

    frames: np.ndarray
    fps: float
    name: str = "<frames>"

    def open(self, threads: int = 1) -> OpenVideo:
        """Returns the frames as an open video."""
        return ArrayVideo(self.frames, self.fps)


@dataclass(frozen=True)
class MissingSource:
    """An argument that names no video.

    Attributes:
        name: as written.
        problem: for the message.
    """

    name: str
    problem: str

    def open(self, threads: int = 1) -> OpenVideo:
        """Raises ``InputError`` with the problem."""
        raise InputError(self.problem)


def is_address(text: str) -> bool:
    """Returns whether a text is the address of a video, such as ``https://…`` or ``rtsp://…``."""
    return _ADDRESS.fullmatch(text) is not None


def is_unknown_address(text: str) -> bool:
    """Returns whether a text looks like an address, but is neither one that can be opened nor a file."""
    return "://" in text and not is_address(text) and not os.path.exists(text)


def is_camera(text: str) -> bool:
    """Returns whether a text is the number of a camera, such as ``0``, and not the name of a file."""
    return text.isdecimal() and not os.path.exists(text)


def is_endless(text: str) -> bool:
    """Returns whether a text names a stream that has no end: a camera, or an address such as ``rtsp://…``."""
    return is_camera(text) or (is_address(text) and text.lower().startswith(_ENDLESS))


def as_source(
    video: Video | VideoSource, *, default_fps: float, video_fps: float | None = None
) -> VideoSource:
    """Returns the source of one video.

    Args:
        video: a path, an address, an open binary file, or frames (T, H, W, 3) uint8.
        default_fps: frames per second of frames in memory, where ``video_fps`` is not given.
        video_fps: of frames in memory.

    Raises:
        InputError: for frames of another shape or dtype, a rate that is not above 0, and any other object.
    """
    check_positive(video_fps=video_fps)
    if isinstance(video, str | os.PathLike):
        path = os.fsdecode(video)
        if is_endless(path):
            name = without_secrets(path)
            raise InputError(f"{name}: has no end; follow it by `vtn predict --live`, or Predictor.follow")
        if is_unknown_address(path):
            raise InputError(f"{without_secrets(path)}: does not exist; {ADDRESS_HINT}")
        return _address(path) if is_address(path) else FileSource(path, path)
    if isinstance(video, np.ndarray | Tensor):
        # Checked before a tensor becomes an array: NumPy has no bfloat16.
        uint8 = torch.uint8 if isinstance(video, Tensor) else np.uint8
        if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != uint8 or 0 in video.shape:
            raise InputError(
                f"frames have shape {tuple(video.shape)} and dtype {video.dtype}: must be uint8 RGB (frames, "
                "height, width, 3), at least one frame of one pixel"
            )
        frames = video.detach().cpu().numpy() if isinstance(video, Tensor) else video
        return ArraySource(frames, video_fps or default_fps)
    if isinstance(video, VideoSource):
        return video
    if hasattr(video, "read") and hasattr(video, "seek"):
        name = getattr(video, "name", "<file>")
        return FileSource(_seekable(video), str(name))
    raise InputError(
        f"a video is of type {type(video).__name__}: must be a path, an address, a binary file, or frames "
        "(T, H, W, 3); np.stack joins images, io.BytesIO holds bytes, and Predictor.follow reads a camera"
    )


def _seekable(file: Any) -> BinaryIO:
    if isinstance(file, io.TextIOBase) or getattr(file, "closed", False) or not file.seekable():
        raise InputError("a file must be open, binary and seekable; open it by open(path, 'rb')")
    return cast(BinaryIO, file)


def expand_arguments(
    arguments: Sequence[str], lines: Iterable[str], *, ignored: list[str]
) -> Iterator[VideoSource]:
    """Yields the videos that arguments of a command name, in their order.

    Args:
        arguments: paths of files; folders, whose videos are found at any depth; patterns with ``*``, ``?``,
            ``[…]`` and ``**``; addresses; ``-``, which stands for ``lines``.
        lines: paths of files, folders and patterns, one per line. Addresses in them are not opened, since
            the lines cannot be trusted.
        ignored: gets the files in folders that are not videos.
    """
    for argument in arguments:
        if argument == STANDARD_INPUT:
            for line in lines:
                if path := line.strip("\r\n"):
                    yield from _expand_path(path, ignored)
        elif is_address(argument):
            yield _address(argument)
        else:
            yield from _expand_path(argument, ignored)


def _expand_path(path: str, ignored: list[str]) -> Iterator[VideoSource]:
    if is_address(path):
        yield MissingSource(without_secrets(path), "addresses are opened as arguments only, not from a list")
    elif os.path.isdir(path):
        found = scan_folder(path)
        ignored += found.others
        if not found.videos:
            yield MissingSource(path, "the folder contains no video")
        yield from (_file(os.path.join(path, name)) for name in found.videos)
    elif set(path) & _PATTERN and not os.path.exists(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            yield MissingSource(path, "no file has a name of this pattern")
        for match in matches:
            yield from _expand_path(match, ignored) if os.path.isdir(match) else [_file(match)]
    elif problem := _find_mistake(path):
        yield MissingSource(without_secrets(path), problem)
    else:
        yield _file(path)


def _find_mistake(path: str) -> str:
    """Returns what to do with an address, an archive, a list of videos or a line of one; empty: neither."""
    if is_unknown_address(path):
        return f"does not exist; {ADDRESS_HINT}"
    if path.lower().endswith(_LISTS) and os.path.isfile(path):
        return f"is a text and not a video; give a list of paths by `- < LIST`; of `path label` {_GIVE_PATHS}"
    if path.lower().endswith(_ARCHIVES) and os.path.isfile(path):
        return "is an archive and not a video; unpack it, and give the folder"
    line = _PATH_AND_LABEL.fullmatch(path)
    if line and os.path.exists(line[1]) and not os.path.exists(path):
        return f"does not exist, but {line[1]} does; for a line `path label` of a list, {_GIVE_PATHS}"
    return ""


def _address(url: str) -> FileSource:
    address = Address(url)
    return FileSource(address, address.name)


def _file(path: str) -> FileSource:
    return FileSource(path, str(Path(path)))
