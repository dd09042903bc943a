"""The properties of one video file, and a check of its frames. Runs in a process of its own."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Any

# Containers round: a missing part below these limits, in seconds and as a fraction, is ignored.
_MISSING_SECONDS, _MISSING_FRACTION = 0.5, 0.05


@dataclass(frozen=True)
class VideoFacts:
    """The properties of a file.

    Attributes:
        path: as given.
        bytes: size of the file.
        digest: hash of the content; empty where it was not asked for.
        frames, seconds, fps: of the video stream.
        width, height: pixels as stored.
        codec: name of the decoder.
        variable_rate: whether frames are shown for different times, by more than the rounding of containers.
        problem: short class of the failure: ``missing``, ``not a video``, ``truncated``, ``corrupt``,
            ``not convertible``, ``timeout`` …; empty for a valid file.
        detail: description of the failure.
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
    variable_rate: bool = False
    problem: str = ""
    detail: str = ""


def probe_video(path: str, *, decode: bool, digest: bool) -> VideoFacts:
    """Returns the properties of a file.

    Args:
        decode: decode every frame, and convert one as reading does; False: only read the packets.
        digest: also hash the content, to find duplicates.

    Raises:
        DecodeError: for a file that is not a video, or cannot be converted.
    """
    # PyAV and numpy are slow to import, and --help does not need them.
    from slowfast.video.container import open_container
    from slowfast.video.placement import Placement
    from slowfast.video.pyav_video import PyAVVideo

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
        variable_rate=not times.is_constant,
    )
    with open_container(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        facts = replace(facts, width=context.width, height=context.height, codec=context.name)
        missing = _describe_missing(container, stream, facts)
        if missing:
            return replace(facts, problem="truncated", detail=missing)
        damage = _find_damage(container, stream, facts.frames) if decode else ""
    return replace(facts, problem="corrupt", detail=damage) if damage else facts


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_missing(container: Any, stream: Any, facts: VideoFacts) -> str:
    """Returns what the header announces and the file lacks; empty where nothing is missing."""
    import av

    if stream.frames > facts.frames * (1 + _MISSING_FRACTION) + 1:
        return f"{facts.frames} of {stream.frames} frames are present"
    claimed = 0.0
    if stream.duration:
        claimed = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        claimed = container.duration / av.time_base
    if claimed - facts.seconds > max(_MISSING_SECONDS, _MISSING_FRACTION * claimed):
        return f"{facts.seconds:.2f} of {claimed:.2f} s are present"
    return ""


def _find_damage(container: Any, stream: Any, frames: int) -> str:
    """Decodes all frames and returns what went wrong, errors that the decoder conceals included."""
    import av

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
    errors = [text.strip() for _, _, text in messages]
    if failed or concealed or decoded < frames:
        return f"{decoded} of {frames} frames decoded, {failed} packets refused, {concealed} frames concealed"
    return f"{len(errors)} errors logged by the decoder: {errors[0]}" if errors else ""


def _packets(container: Any, stream: Any) -> Any:
    import av

    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError):
            return
