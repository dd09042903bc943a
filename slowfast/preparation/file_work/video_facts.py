"""The properties of one video file, and a check of its frames. Runs in a process of its own."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class VideoFacts:
    """The properties of a file.

    Attributes:
        path: as given.
        bytes: size of the file.
        content_hash: SHA-256 of the file; empty where it was not asked for.
        frames, seconds, fps: of the video stream.
        width, height: pixels as stored.
        codec: FFmpeg's name of the codec, such as ``av1``.
        variable_rate: whether frames are shown for different times, by more than the rounding of containers.
        problem: short class of the failure: ``missing``, ``not a video``, ``truncated``, ``corrupt``,
            ``not convertible``, ``timeout`` …; empty for a valid file.
        detail: description of the failure.
    """

    path: str
    bytes: int = 0
    content_hash: str = ""
    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    variable_rate: bool = False
    problem: str = ""
    detail: str = ""


def probe_video(path: str, *, decode: bool, with_hash: bool) -> VideoFacts:
    """Returns the properties of a file.

    Args:
        decode: decode every frame, and convert one as reading does; False: only read the packets.
        with_hash: also hash the content, to find duplicates.

    Raises:
        DecodeError: for a file that is not a video, or cannot be converted.
    """
    # PyAV and numpy are slow to import, and --help does not need them.
    from slowfast.video.placement import Placement
    from slowfast.video.pyav_video import PyAVVideo

    with PyAVVideo(path) as video:
        times = video.times
        if decode:
            next(video.stream(lambda *_: Placement(32, 32, 0, 0, 32, 32)), None)
        facts = VideoFacts(
            path=path,
            bytes=os.path.getsize(path),
            content_hash=_hash_file(path) if with_hash else "",
            frames=times.num_frames,
            seconds=times.duration,
            fps=times.fps,
            width=video.size[1],
            height=video.size[0],
            codec=video.codec,
            variable_rate=not times.is_constant,
        )
        missing = video.describe_missing()
        if missing:
            return replace(facts, problem="truncated", detail=missing)
        damage = video.describe_damage() if decode else ""
    return replace(facts, problem="corrupt", detail=damage) if damage else facts


def _hash_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
