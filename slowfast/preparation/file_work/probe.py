"""The facts of one video file, and whether its frames can be trusted. Runs in a process of its own."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Any

import av

from slowfast.video.container import open_container

# Containers round; a part this small, in seconds and as a share, is not missed.
_MISSING_SECONDS, _MISSING_SHARE = 0.5, 0.05


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a file.

    Attributes:
        path: as given.
        bytes: size of the file.
        digest: of its content; empty when it was not asked for.
        frames, seconds, fps: of the video stream.
        width, height: pixels as stored.
        codec: decoder's name.
        problem: short class of what is wrong: ``missing``, ``not a video``, ``truncated``, ``corrupt``,
            ``not convertible``, ``timeout`` …; empty for a sound file.
        detail: more about it.
    """

    path: str
    bytes: int = 0
    digest: str = ""
    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    problem: str = ""
    detail: str = ""


def probe_video(path: str, *, decode: bool, digest: bool) -> VideoFacts:
    """Reads the facts of a file.

    Args:
        decode: decode every frame, and convert one as reading does; else only the packets are read.
        digest: also digest the content, to find files that are the same.

    Raises:
        DecodeError: for what is no video at all, or none that can be shown.
    """
    from slowfast.video.placement import Placement
    from slowfast.video.pyav_video import PyAVVideo  # loads torch, which a command's --help need not

    with PyAVVideo(path) as video:
        times = video.times
        if decode:
            next(video.stream(lambda *_: Placement(32, 32, 0, 0, 32, 32)), None)
    facts = VideoFacts(
        path=path,
        bytes=os.path.getsize(path),
        digest=_digest(path) if digest else "",
        frames=times.num_frames,
        seconds=times.duration,
        fps=times.fps,
    )
    with open_container(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        facts = replace(facts, width=context.width, height=context.height, codec=context.name)
        missing = _missing_part(container, stream, facts)
        if missing:
            return replace(facts, problem="truncated", detail=missing)
        damage = _find_damage(container, stream, facts.frames) if decode else ""
    return replace(facts, problem="corrupt", detail=damage) if damage else facts


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _missing_part(container: Any, stream: Any, facts: VideoFacts) -> str:
    """Says what the header promises and the file does not hold."""
    if stream.frames > facts.frames * (1 + _MISSING_SHARE) + 1:
        return f"{facts.frames} of {stream.frames} frames are there"
    claimed = 0.0
    if stream.duration:
        claimed = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        claimed = container.duration / av.time_base
    if claimed - facts.seconds > max(_MISSING_SECONDS, _MISSING_SHARE * claimed):
        return f"{facts.seconds:.2f} of {claimed:.2f} s are there"
    return ""


def _find_damage(container: Any, stream: Any, frames: int) -> str:
    """Decodes everything and says what went wrong, also what the decoder conceals without an error."""
    stream.thread_type = "NONE"
    decoded = failed = concealed = 0
    av.logging.set_level(av.logging.ERROR)
    with av.logging.Capture() as messages:
        for packet in _packets(container, stream):
            try:
                for frame in packet.decode():
                    decoded += 1
                    concealed += frame.is_corrupt
            except av.FFmpegError:
                failed += 1
    complaints = [text.strip() for _, _, text in messages]
    if failed or concealed or decoded < frames:
        return f"{decoded} of {frames} frames decoded, {failed} packets refused, {concealed} frames concealed"
    return f"{len(complaints)} complaints of the decoder: {complaints[0]}" if complaints else ""


def _packets(container: Any, stream: Any) -> Any:
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError):
            return
