"""Videos that are cut, damaged or odd."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from tests.support.corpus.case import FRAMES, NO_FRAMES, NOT_A_VIDEO, SIZE, Case
from tests.support.videos import write_video

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 0.999)


def write_index_first(path: Path) -> Path:
    """Writes an H.264 mp4 whose index (moov) comes before its data."""
    return write_video(path, FRAMES, size=SIZE, bf="2", container_options={"movflags": "faststart"})


def truncated(folder: Path) -> Iterator[Case]:
    """Yields videos of which only the first part is present."""
    complete = write_index_first(folder / "moov_in_front.mp4")
    yield Case(str(complete), frames=FRAMES)
    content = complete.read_bytes()
    for fraction in FRACTIONS:
        path = folder / f"cut_at_{fraction}.mp4"
        path.write_bytes(content[: int(len(content) * fraction)])
        # Half of the bytes must give a few frames at least.
        yield Case(str(path), at_least=5 if fraction >= 0.5 else 1, reasons=NO_FRAMES)
    index_last = write_video(folder / "moov_at_the_end.mp4", FRAMES, size=SIZE, bf="2")
    yield Case(str(index_last), frames=FRAMES)
    lost = folder / "moov_lost.mp4"
    lost.write_bytes(index_last.read_bytes()[: index_last.read_bytes().rindex(b"moov") - 4])
    yield Case(str(lost), reasons=NOT_A_VIDEO)
    for suffix in ("mkv", "avi", "ts", "flv"):
        content = write_video(folder / f"whole.{suffix}", FRAMES, size=SIZE).read_bytes()
        path = folder / f"cut.{suffix}"
        path.write_bytes(content[: int(len(content) * 0.6)])
        yield Case(str(path), at_least=5)


def damaged(folder: Path) -> Iterator[Case]:
    """Yields videos with changed bytes, in packets and in the index."""
    content = write_index_first(folder / "whole.mp4").read_bytes()
    start = content.index(b"mdat") + 4
    rng = np.random.default_rng(0)

    def variant(name: str, change: Callable[[np.ndarray], object], **expected: object) -> Case:
        data = np.frombuffer(content, np.uint8).copy()
        change(data)
        (folder / name).write_bytes(data.tobytes())
        return Case(str(folder / name), **{"reasons": NO_FRAMES, **expected})  # type: ignore[arg-type]

    def flip(data: np.ndarray, first: int, last: int, every: int) -> None:
        places = rng.choice(np.arange(first, last), (last - first) // every, replace=False)
        data[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)

    yield variant("packets_flipped.mp4", lambda d: flip(d, start, len(d), 50))
    yield variant("packets_noise.mp4", lambda d: flip(d, start, len(d), 1))
    yield variant("packets_zero.mp4", lambda d: d[start:].fill(0))
    yield variant("middle_zero.mp4", lambda d: d[start + 3000 : start + 6000].fill(0))
    for seed in range(4):
        yield variant(f"anywhere_{seed}.mp4", lambda d: flip(d, 32, len(d), 100))
    for seed in range(4):
        yield variant(f"index_{seed}.mp4", lambda d: flip(d, 40, start, 60))
    yield variant("no_decoder_settings.mp4", lambda d: d[_box(content, b"avcC") :][:30].fill(0))

    def claim(box: bytes, offset: int, value: int) -> Callable[[np.ndarray], object]:
        place = _box(content, box) + offset
        return lambda d: d[place : place + 4].__setitem__(
            slice(None), np.frombuffer(struct.pack(">I", value), np.uint8)
        )

    # Boxes of version 0: 4 bytes of flags, two times, a time scale, a duration.
    yield variant("lasts_for_years.mp4", claim(b"mvhd", 16, 0x7FFFFFFF), frames=FRAMES, reasons=frozenset())
    yield variant("lasts_no_time.mp4", claim(b"mdhd", 16, 0), frames=FRAMES, reasons=frozenset())
    yield variant("two_billion_frames.mp4", claim(b"stsz", 8, 0x7FFFFFFF))
    yield variant("two_billion_times.mp4", claim(b"stts", 4, 0x7FFFFFFF))
    yield variant("no_time_scale.mp4", claim(b"mdhd", 12, 0))
    yield variant("frames_of_gigabytes.mp4", claim(b"stsz", 12, 0x7FFFFFF0))


def _box(content: bytes, name: bytes) -> int:
    """Returns the offset of the content of an mp4 box."""
    return content.index(name) + 4


def odd(folder: Path) -> Iterator[Case]:
    """Yields valid videos with unusual times or containers, and files without frames."""
    yield Case(str(write_video(folder / "one_frame.mp4", 1, size=SIZE)), frames=1)
    yield Case(str(write_video(folder / "two_frames.mkv", 2, size=SIZE)), frames=2)
    bare = write_video(folder / "no_timestamps.h264", FRAMES, size=SIZE, container_format="h264", bf="2")
    yield Case(str(bare), frames=FRAMES)
    old = write_video(folder / "no_timestamps.avi", FRAMES, size=SIZE, codec="mpeg4", bf="2")
    yield Case(str(old), frames=FRAMES)
    pieces = {"movflags": "frag_keyframe+empty_moov"}
    yield Case(
        str(write_video(folder / "pieces.mp4", FRAMES, size=SIZE, container_options=pieces)), frames=FRAMES
    )
    late = write_video(folder / "late.mkv", FRAMES, size=SIZE, ticks=[10**9 + 40 * i for i in range(FRAMES)])
    yield Case(str(late), frames=FRAMES)
    gap = [40 * i + (86_400_000 if i > 20 else 0) for i in range(FRAMES)]
    yield Case(str(write_video(folder / "pause_of_a_day.mkv", FRAMES, size=SIZE, ticks=gap)), frames=FRAMES)
    other_name = folder / "mkv_called.mp4"
    other_name.write_bytes(write_video(folder / "called.mkv", FRAMES, size=SIZE).read_bytes())
    yield Case(str(other_name), frames=FRAMES)
    tail = folder / "something_behind.mp4"
    tail.write_bytes(write_index_first(folder / "front.mp4").read_bytes() + b"<html>" * 1000)
    yield Case(str(tail), frames=FRAMES)
    twice = folder / "twice_one_after_another.ts"
    twice.write_bytes(write_video(folder / "once.ts", 5, size=SIZE).read_bytes() * 2)
    yield Case(str(twice))
    yield Case(str(_write_audio(folder / "audio_only.mp4")), reasons=frozenset({"no video stream"}))
    no_packets = folder / "no_packets.mp4"
    with av.open(str(no_packets), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()
    yield Case(str(no_packets), reasons=NO_FRAMES)


def _write_audio(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
