"""A smaller copy of one video. Runs in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from slowfast.errors import DecodeError
from slowfast.files import atomic_write
from slowfast.video.container import open_container
from slowfast.video.placement import scaled_size

_VP9 = {"deadline": "realtime", "cpu-used": "6", "b": "0"}
# Formats that hold no H.264, or not so that the times of its frames can be read from the packets.
_UNSUITABLE = frozenset({".asf", ".gif", ".mpe", ".mpeg", ".mpg", ".vob", ".wmv"})


@dataclass(frozen=True)
class Encoding:
    """How copies are made.

    Attributes:
        short_side: pixels; smaller videos keep their size.
        gop: frames from one key frame to the next; small ones make seeking cheap and files larger.
        crf: constant quality, 0 (lossless) to 51.
        preset: of x264, from ``ultrafast`` to ``veryslow``.
    """

    short_side: int
    gop: int
    crf: int
    preset: str


@dataclass(frozen=True)
class Copy:
    """What was written.

    Attributes:
        width, height: pixels.
        frames: how many.
        bytes_before, bytes_after: sizes of both files.
    """

    width: int
    height: int
    frames: int
    bytes_before: int
    bytes_after: int


def transcode(source: str, *, source_root: str, target_root: str, encoding: Encoding) -> Copy:
    """Writes a copy of a video under the same name below another folder; sound is left out.

    Frames keep their times, so that variable frame rates stay as they are; so does a rotation. The copy
    appears under its name only when it is whole.

    Raises:
        DecodeError: for what is no video, and where a packet cannot be decoded; reason ``no such copies``
            where the source's format does not suit.
    """
    suffix = os.path.splitext(source)[1].lower()
    if suffix in _UNSUITABLE:
        remedy = f"{suffix} does not suit H.264; convert it to .mp4, and change its name in the list"
        raise DecodeError(source, "no such copies", remedy)
    target = Path(target_root, os.path.relpath(source, source_root))
    try:
        with (
            open_container(source) as reader,
            atomic_write(target) as temporary,
        ):
            if not reader.streams.video:
                raise DecodeError(source, "no video stream")
            width, height, frames = _encode(reader, temporary, encoding)
            if not frames:
                raise DecodeError(source, "no frames")
    except FileNotFoundError as error:
        raise DecodeError(source, "missing", str(error)) from error
    except av.FFmpegError as error:
        raise DecodeError(source, "corrupt", str(error)) from error
    return Copy(width, height, frames, os.path.getsize(source), target.stat().st_size)


def _encode(reader: Any, path: Path, encoding: Encoding) -> tuple[int, int, int]:
    source = reader.streams.video[0]
    source.thread_type = "NONE"
    height, width = source.codec_context.height, source.codec_context.width
    if min(height, width) > encoding.short_side:
        height, width = scaled_size(height, width, encoding.short_side)
    height, width = max(height // 2 * 2, 2), max(width // 2 * 2, 2)  # 4:2:0 wants even sizes
    codec, options = _codec(path.suffix.lower(), encoding)
    reformatter = VideoReformatter()
    frames = 0
    with av.open(str(path), "w") as writer:
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        stream = writer.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = encoding.gop
        stream.codec_context.thread_count = 1
        if source.time_base:
            stream.codec_context.time_base = source.time_base
        for frame in _timed_frames(reader, source, rate):
            if not frames and frame.rotation:
                stream.set_display_rotation(frame.rotation)
            small = reformatter.reformat(
                frame, width, height, format="yuv420p", interpolation="AREA", threads=1
            )
            small.pts, small.time_base = frame.pts, frame.time_base
            small.pict_type = PictureType.NONE  # the source's kind would be taken for an order
            writer.mux(stream.encode(small))
            frames += 1
        writer.mux(stream.encode())
    return width, height, frames


def _codec(suffix: str, encoding: Encoding) -> tuple[str, dict[str, str]]:
    """The encoder for a kind of file, and its options."""
    quality = {"crf": str(encoding.crf)}
    if suffix == ".webm":
        return "libvpx-vp9", _VP9 | quality
    if suffix == ".avi":  # keeps one time a packet: with B-frames nobody could tell when a frame is shown
        quality["bf"] = "0"
    return "libx264", {"preset": encoding.preset} | quality


def _timed_frames(reader: Any, source: Any, rate: Fraction) -> Iterator[Any]:
    """Frames with ascending timestamps; where they are missing or fall back, one step after the last."""
    step = max(round(1 / (rate * source.time_base)), 1)
    last = None
    for frame in reader.decode(source):
        if frame.pts is None or (last is not None and frame.pts <= last):
            frame.pts = 0 if last is None else last + step
        last = frame.pts
        yield frame
