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
# Formats that cannot hold H.264, or not with frame times that can be read from the packets.
_UNSUITABLE = frozenset({".asf", ".gif", ".mpe", ".mpeg", ".mpg", ".vob", ".wmv"})


@dataclass(frozen=True)
class Encoding:
    """Settings of the encoder.

    Attributes:
        short_side: pixels; smaller videos keep their size.
        gop: frames between key frames; small values make seeking fast and files larger.
        crf: constant quality, 0 (lossless) to 51.
        preset: of x264, from ``ultrafast`` to ``veryslow``.
    """

    short_side: int
    gop: int
    crf: int
    preset: str


@dataclass(frozen=True)
class Copy:
    """Properties of a copy.

    Attributes:
        width, height: pixels.
        frames: number of frames.
        bytes_before, bytes_after: sizes of both files.
    """

    width: int
    height: int
    frames: int
    bytes_before: int
    bytes_after: int


def transcode(source: str, *, source_root: str, target_root: str, encoding: Encoding) -> Copy:
    """Writes a copy of a video under the same name in another folder, without sound.

    Frame times, variable frame rates and a rotation are kept. The copy gets its name when it is complete.

    Raises:
        DecodeError: for a file that is not a video, and for packets that cannot be decoded; reason
            ``unsuitable format`` where the container cannot hold the copy.
    """
    suffix = os.path.splitext(source)[1].lower()
    if suffix in _UNSUITABLE:
        remedy = f"{suffix} cannot hold H.264; convert the file to .mp4, and change its name in the list"
        raise DecodeError(source, "unsuitable format", remedy)
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
    height, width = max(height // 2 * 2, 2), max(width // 2 * 2, 2)  # 4:2:0 needs even sizes
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
            small.pict_type = PictureType.NONE  # the encoder would obey the type of the source frame
            writer.mux(stream.encode(small))
            frames += 1
        writer.mux(stream.encode())
    return width, height, frames


def _codec(suffix: str, encoding: Encoding) -> tuple[str, dict[str, str]]:
    """Returns the encoder for a file suffix, and its options."""
    quality = {"crf": str(encoding.crf)}
    if suffix == ".webm":
        return "libvpx-vp9", _VP9 | quality
    if suffix == ".avi":  # stores no presentation times, which B-frames need
        quality["bf"] = "0"
    return "libx264", {"preset": encoding.preset} | quality


def _timed_frames(reader: Any, source: Any, rate: Fraction) -> Iterator[Any]:
    """Yields frames with ascending timestamps; a missing or descending one becomes the last plus one step."""
    step = max(round(1 / (rate * source.time_base)), 1)
    last = None
    for frame in reader.decode(source):
        if frame.pts is None or (last is not None and frame.pts <= last):
            frame.pts = 0 if last is None else last + step
        last = frame.pts
        yield frame
