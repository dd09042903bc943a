"""A smaller copy of one video. Runs in a process of its own.

Copies are 4:2:0 of 8 bits in limited range, with the colour matrix of the source: readers convert frames by
their tags, and pixels of the source without its tags would change their colours.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.filter import Graph
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from slowfast.errors import DecodeError
from slowfast.files import atomic_write
from slowfast.video.frame_scaler import as_progressive
from slowfast.video.orientation import Orientation, orientation_of
from slowfast.video.placement import scaled_size
from slowfast.video.pyav_video import PyAVVideo

_VP9 = {"deadline": "realtime", "cpu-used": "6", "b": "0"}
CONTAINERS = {
    suffix: container
    for container, suffixes in {
        "mp4": ".mp4 .mp4v .m4v",
        "mov": ".mov .qt",
        "f4v": ".f4v",
        "3gp": ".3gp",
        "3g2": ".3g2",
        "matroska": ".mkv .mk3d",
        "webm": ".webm",
        "avi": ".avi .divx .xvid",
        "flv": ".flv",
        "mpegts": ".ts .m2t .m2ts .mts",
        "wtv": ".wtv",
        "nut": ".nut",
        "mxf": ".mxf",
        "h264": ".h264 .264 .avc",
    }.items()
    for suffix in suffixes.split()
}
"""Suffix -> FFmpeg's name of the container. Others cannot hold the copy, or not with frame times that can be
read from the packets."""

# Containers that count frames, or whose frames have no times at all.
_WITHOUT_TIMES = frozenset({"mxf", "h264"})

_FORMAT = "yuv420p"

# Colour matrices (ITU-T H.273, table 4) that swscale knows. As in reading, BT.2020 with constant luminance is
# taken for BT.2020 with non-constant luminance, and others for unspecified.
_RGB, _UNSPECIFIED, _BT2020 = 0, 2, 9
_KNOWN = frozenset({_RGB, 1, _UNSPECIFIED, 4, 5, 6, 7, _BT2020})
_NEAREST = {10: _BT2020}
# Values of the tags of primaries and of the transfer function that have a meaning.
_PRIMARIES, _TRANSFERS = frozenset({1, *range(4, 13), 22}), frozenset({1, *range(4, 19)})


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

    Frame times and variable frame rates are kept; frames are upright in the copy, since not every container
    stores how they are to be turned. The copy gets its name when it is complete.

    Raises:
        DecodeError: for a file that is not a video or is truncated, and for packets that cannot be decoded;
            reason ``unsuitable format`` where the container cannot hold the copy.
    """
    suffix = os.path.splitext(source)[1].lower()
    container = CONTAINERS.get(suffix)
    if container is None:
        raise _unsuitable(source, f"{suffix or 'a file without a suffix'} cannot hold H.264")
    target = Path(target_root, os.path.relpath(source, source_root))
    try:
        with PyAVVideo(source) as video:
            if missing := video.describe_missing():  # the copy would hide it from later checks
                raise DecodeError(source, "truncated", missing)
            if container in _WITHOUT_TIMES and not video.times.is_constant:
                raise _unsuitable(source, f"{suffix} cannot hold variable frame rates")
            with atomic_write(target) as temporary:
                width, height, frames = _encode(video, temporary, container, encoding)
    except av.FFmpegError as error:
        raise DecodeError(source, "corrupt", str(error)) from error
    return Copy(width, height, frames, os.path.getsize(source), target.stat().st_size)


def _unsuitable(source: str, why: str) -> DecodeError:
    return DecodeError(
        source, "unsuitable format", f"{why}; convert the file to .mp4, and change its name in the list"
    )


def _encode(video: PyAVVideo, path: Path, container: str, encoding: Encoding) -> tuple[int, int, int]:
    """Writes the copy; returns (width, height, frames)."""
    stored = _even_size(*video.size, encoding.short_side)
    codec, options = _codec(container, encoding)
    converter = _ColourConverter()
    size, count = stored, 0
    with av.open(str(path), "w", format=container) as writer:
        stream = writer.add_stream(codec, rate=video.rate, options=options)
        stream.pix_fmt, stream.gop_size = _FORMAT, encoding.gop
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = video.time_base
        stream.codec_context.flags |= Flags.frame_duration  # packets last as long as their frames
        # The start of each frame in ticks, and the end of the last one.
        ticks = np.rint(np.append(video.times.seconds, video.times.duration) / float(video.time_base))
        for frame in video.every_frame():
            small = converter.scale(frame, *stored)
            if count == 0:
                _tag_stream(stream.codec_context, small)
                orientation = orientation_of(frame)
                size = stored[::-1] if orientation.swaps_sides else stored
                stream.height, stream.width = size
                turn = _turner(orientation, stored)
            small = turn(small)
            small.pts, small.time_base = int(ticks[count]), video.time_base
            small.duration = int(ticks[count + 1] - ticks[count])
            small.pict_type = PictureType.NONE  # the encoder would obey the type of the source frame
            writer.mux(stream.encode(small))
            count += 1
        writer.mux(stream.encode())
    return size[1], size[0], count


def _even_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Returns (height, width) of the scaled frames; 4:2:0 needs even sizes."""
    if min(height, width) > short_side:
        height, width = scaled_size(height, width, short_side)
    return max(height // 2 * 2, 2), max(width // 2 * 2, 2)


def _turner(orientation: Orientation, size: tuple[int, int]) -> Callable[[Any], Any]:
    """Returns a function that makes a 4:2:0 frame of a size (height, width) upright."""
    if not orientation.filters:
        return lambda frame: frame
    graph = Graph()
    height, width = size
    source = graph.add_buffer(width=width, height=height, format=_FORMAT, time_base=Fraction(1, 1000))
    filters = [graph.add(name) for name in orientation.filters]
    # Without the side data that says how the stored frame is to be turned.
    filters.append(graph.add("sidedata", "mode=delete:type=DISPLAYMATRIX"))
    graph.link_nodes(source, *filters, graph.add("buffersink")).configure()

    def turn(frame: Any) -> Any:
        graph.push(frame)
        return graph.pull()

    return turn


def _codec(container: str, encoding: Encoding) -> tuple[str, dict[str, str]]:
    """Returns the encoder for a container, and its options."""
    quality = {"crf": str(encoding.crf)}
    if container == "webm":
        return "libvpx-vp9", _VP9 | quality
    if container == "avi":  # stores no presentation times, which B-frames need
        quality["bf"] = "0"
    return "libx264", {"preset": encoding.preset} | quality


class _ColourConverter:
    """Scales the frames of a video to one size, and gives all of them the colour tags of the first."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._matrix: int | None = None

    def scale(self, frame: Any, height: int, width: int) -> Any:
        """Returns a scaled 4:2:0 frame of limited range; the tag of the given frame may be replaced."""
        if frame.colorspace not in _KNOWN:
            frame.colorspace = _NEAREST.get(frame.colorspace, _UNSPECIFIED)
        if self._matrix is None:
            self._matrix = Colorspace.ITU601 if frame.colorspace == _RGB else frame.colorspace
        return self._reformatter.reformat(
            as_progressive(frame),
            width,
            height,
            format=_FORMAT,
            interpolation="AREA",
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )


def _tag_stream(context: Any, frame: Any) -> None:
    """Gives an encoder that is not open yet the colour tags of its first frame."""
    context.colorspace, context.color_range = frame.colorspace, frame.color_range
    if frame.color_primaries in _PRIMARIES:
        context.color_primaries = frame.color_primaries
    if frame.color_trc in _TRANSFERS:
        context.color_trc = frame.color_trc
