"""Unusual videos made from ordinary ones, and the frames that a plain decode in order gives for them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from slowfast.video.decoding import open_video
from slowfast.video.frame_times import FrameTimes
from tests.support.videos import stamp

FRAMES = 60
SIZE = (64, 96)
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:b-adapt=0:scenecut=0"}
H264 = {"codec": "libx264", "preset": "fast", "bf": "3"}
HEVC = {"codec": "libx265", "x265-params": "log-level=none:bframes=3:keyint=12"}

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="the ffmpeg command is not installed"
)


def ffmpeg(*arguments: str | Path) -> bytes:
    """Runs the ffmpeg command; returns its output."""
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@cache
def has_encoder(name: str) -> bool:
    """Returns whether the ffmpeg command has an encoder."""
    return shutil.which("ffmpeg") is not None and f" {name} ".encode() in ffmpeg("-encoders")


def decode_in_order(path: Path | str) -> np.ndarray:
    """Returns all frames of a file, decoded from the first packet on, (N, H, W, 3) uint8 RGB.

    This is what every player shows; it relies on no timestamp, key frame or table.
    """
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        for packet in _until_error(container.demux(stream)):
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]  # type: ignore[union-attr]
            except av.FFmpegError:
                continue
    return np.stack(frames)


def _until_error(packets: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError):
            return


def assert_frames_are(path: Path, truth: np.ndarray, *, singles: int = 8) -> FrameTimes:
    """Asserts that all frames, and some that are read alone, are the expected ones; returns their times."""
    with open_video(path) as video:
        times = video.times
        assert times.num_frames == len(truth)
        np.testing.assert_array_equal(video.read(np.arange(len(truth))), truth)
        chunks = np.concatenate(list(video.read_chunks(np.arange(len(truth)), 7)))
        np.testing.assert_array_equal(chunks, truth)
    for index in np.random.default_rng(0).permutation(len(truth))[:singles]:
        with open_video(path) as video:
            np.testing.assert_array_equal(video.read(np.array([index]))[0], truth[index])
    assert (np.diff(times.seconds) > 0).all()
    assert times.seconds[0] == 0
    assert times.duration > times.seconds[-1]
    return times


def remux(source: Path, target: Path, change: Callable[[int, Any], bool | None] = lambda *_: None) -> Path:
    """Copies the video packets of a file into another container.

    Args:
        change: called with each packet and its number; may change the packet, returns False to leave it out.
    """
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        packets = (packet for packet in reader.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            if change(number, packet) is False:
                continue
            packet.stream = stream
            writer.mux(packet)
    return target


def filter_packets(source: Path, target: Path, bitstream_filter: str) -> Path:
    """Copies the video packets of a file through a bitstream filter of FFmpeg."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        track = reader.streams.video[0]
        stream = writer.add_stream_from_template(track)
        change = BitStreamFilterContext(bitstream_filter, track, stream)
        for packet in reader.demux(track):
            for changed in change.filter(packet if packet.size else None):
                changed.stream = stream
                writer.mux(changed)
    return target


def shift(source: Path, target: Path, seconds: float) -> Path:
    """Copies a file with a clock that starts later."""

    def add(_: int, packet: Any) -> None:
        ticks = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks

    return remux(source, target, add)


def exchange_times(source: Path, target: Path, one: int, other: int) -> Path:
    """Copies a file with the display times of two frames exchanged."""
    with av.open(str(source)) as container:
        shown = sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
    times = {shown[one]: shown[other], shown[other]: shown[one]}

    def exchange(_: int, packet: Any) -> None:
        packet.pts = times.get(packet.pts, packet.pts)

    return remux(source, target, exchange)


def drop_first(source: Path, target: Path, count: int) -> Path:
    """Copies the packets of a file but for the first ones, so that it begins between key frames."""
    return remux(source, target, lambda number, _: number >= count)


def write_late_sound(path: Path) -> Path:
    """Writes an FLV file of 160 frames of 64 x 48 pixels whose header knows nothing of the sound at its end.

    Recorders of live streams write such files.
    """
    sound = ("-itsoffset", "15", "-f", "lavfi", "-i", "sine=r=44100:d=1")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=16", *sound, "-map", "0:v", "-map", "1:a", path)
    content = bytearray(path.read_bytes())
    content[4] = 1  # the header's list of streams: video
    path.write_bytes(content)
    return path


def write_at_ticks(path: Path, ticks: list[int], codec: str) -> None:
    """Writes a video of 25 ticks per second whose stamped frames are shown at the given ticks."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25, options={} if codec == "mjpeg" else {"bf": "2"})
        track.width, track.height = 96, 64
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        track.codec_context.time_base = Fraction(1, 25)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(stamp(number, 64, 96), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            container.mux(track.encode(frame))
        container.mux(track.encode())
