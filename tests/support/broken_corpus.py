"""A corpus of broken, odd and hostile files, made by changing bytes of real encoded videos."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tests.support.videos import write_video

FRAMES = 40
SIZE = (64, 96)
FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 0.999)
NOT_A_VIDEO = frozenset({"not a video"})
NO_FRAMES = NOT_A_VIDEO | {"no video stream", "no decoder", "no frames", "corrupt", "memory"}
NOT_A_FILE = frozenset({"not a file"})


@dataclass(frozen=True)
class Case:
    """One file and the accepted results of reading it.

    Attributes:
        frames: the file must show the stamps 0 … frames − 1; None: any frames are accepted.
        at_least: the file must show at least this many of its first frames, in order.
        reasons: classes of errors that are accepted as well; empty: an error is wrong.
    """

    path: str
    frames: int | None = None
    at_least: int | None = None
    reasons: frozenset[str] = frozenset()


def make_corpus(folder: Path) -> dict[str, Case]:
    """Writes all files below ``folder``; returns the cases by name."""
    cases: dict[str, Case] = {}
    for write_cases in (
        _truncated,
        _damaged,
        _odd,
        _not_videos,
        _not_files,
        _named_strangely,
        _huge,
        _playlists,
    ):
        subfolder = folder / write_cases.__name__.strip("_")
        subfolder.mkdir()
        for case in write_cases(subfolder):
            cases[f"{subfolder.name}/{os.path.basename(case.path)[:40]}"] = case
    return cases


def _write_index_first(path: Path) -> Path:
    """Writes an H.264 mp4 whose index (moov) comes before its data."""
    return write_video(path, FRAMES, size=SIZE, bf="2", container_options={"movflags": "faststart"})


def _truncated(folder: Path) -> Iterator[Case]:
    complete = _write_index_first(folder / "moov_in_front.mp4")
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


def _damaged(folder: Path) -> Iterator[Case]:
    content = _write_index_first(folder / "whole.mp4").read_bytes()
    start = content.index(b"mdat") + 4
    rng = np.random.default_rng(0)

    def damaged(name: str, change: Callable[[np.ndarray], object], **expected: object) -> Case:
        data = np.frombuffer(content, np.uint8).copy()
        change(data)
        (folder / name).write_bytes(data.tobytes())
        return Case(str(folder / name), **{"reasons": NO_FRAMES, **expected})  # type: ignore[arg-type]

    def flip(data: np.ndarray, first: int, last: int, every: int) -> None:
        places = rng.choice(np.arange(first, last), (last - first) // every, replace=False)
        data[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)

    yield damaged("packets_flipped.mp4", lambda d: flip(d, start, len(d), 50))
    yield damaged("packets_noise.mp4", lambda d: flip(d, start, len(d), 1))
    yield damaged("packets_zero.mp4", lambda d: d[start:].fill(0))
    yield damaged("middle_zero.mp4", lambda d: d[start + 3000 : start + 6000].fill(0))
    for seed in range(4):
        yield damaged(f"anywhere_{seed}.mp4", lambda d: flip(d, 32, len(d), 100))
    for seed in range(4):
        yield damaged(f"index_{seed}.mp4", lambda d: flip(d, 40, start, 60))
    yield damaged("no_decoder_settings.mp4", lambda d: d[_box(content, b"avcC") :][:30].fill(0))

    def claim(box: bytes, offset: int, value: int) -> Callable[[np.ndarray], object]:
        place = _box(content, box) + offset
        return lambda d: d[place : place + 4].__setitem__(
            slice(None), np.frombuffer(struct.pack(">I", value), np.uint8)
        )

    # Boxes of version 0: 4 bytes of flags, two times, a time scale, a duration.
    yield damaged("lasts_for_years.mp4", claim(b"mvhd", 16, 0x7FFFFFFF), frames=FRAMES, reasons=frozenset())
    yield damaged("lasts_no_time.mp4", claim(b"mdhd", 16, 0), frames=FRAMES, reasons=frozenset())
    yield damaged("two_billion_frames.mp4", claim(b"stsz", 8, 0x7FFFFFFF))
    yield damaged("two_billion_times.mp4", claim(b"stts", 4, 0x7FFFFFFF))
    yield damaged("no_time_scale.mp4", claim(b"mdhd", 12, 0))
    yield damaged("frames_of_gigabytes.mp4", claim(b"stsz", 12, 0x7FFFFFF0))


def _box(content: bytes, name: bytes) -> int:
    """Returns the offset of the content of an mp4 box."""
    return content.index(name) + 4


def _odd(folder: Path) -> Iterator[Case]:
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
    tail.write_bytes(_write_index_first(folder / "front.mp4").read_bytes() + b"<html>" * 1000)
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


def _not_videos(folder: Path) -> Iterator[Case]:
    contents = {
        "empty.mp4": b"",
        "one_byte.mp4": b"\0",
        "zeros.mp4": bytes(1 << 20),
        "text.mp4": b"not a video\n" * 1000,
        "page.mp4": b"<!DOCTYPE html><html><head><title>404</title></head>" + b"<p>gone</p>" * 500,
        "noise.mp4": np.random.default_rng(1).integers(0, 256, 1 << 18, np.uint8).tobytes(),
        "archive.mp4": b"PK\x03\x04" + bytes(4000),
        "only_a_header.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        "boxes_in_boxes.mp4": b"".join(struct.pack(">I4s", 8 * (5000 - i), b"moov") for i in range(5000)),
        "subtitles.mp4": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" * 50,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield Case(str(folder / name), reasons=NO_FRAMES | {"empty"})
    image = folder / "image.mp4"
    image.write_bytes(_png(8, 8, bytes(9 * 8)))
    yield Case(str(image), reasons=NO_FRAMES)


def _png(width: int, height: int, rows: bytes) -> bytes:
    """Returns a grey png; ``rows`` has (width + 1) × height bytes, or fewer to break the file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 1))
        + chunk(b"IEND", b"")
    )


def _not_files(folder: Path) -> Iterator[Case]:
    (folder / "directory.mp4").mkdir()
    yield Case(str(folder / "directory.mp4"), reasons=NOT_A_FILE)
    os.mkfifo(folder / "fifo.mp4")
    yield Case(str(folder / "fifo.mp4"), reasons=NOT_A_FILE)
    with socket.socket(socket.AF_UNIX) as server:
        working_folder = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # the path of a socket has at most 108 bytes
        server.bind("socket.mp4")
        os.chdir(working_folder)
        os.close(working_folder)
    yield Case(str(folder / "socket.mp4"), reasons=NOT_A_FILE)
    yield Case("/dev/zero", reasons=NOT_A_FILE)
    yield Case("/dev/null", reasons=NOT_A_FILE)
    yield Case(str(folder / "missing.mp4"), reasons=frozenset({"missing"}))
    (folder / "dangling.mp4").symlink_to(folder / "missing.mp4")
    yield Case(str(folder / "dangling.mp4"), reasons=frozenset({"missing"}))
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    yield Case(str(folder / "loop.mp4"), reasons=frozenset({"unreadable"}))
    yield Case(str(folder / ("long" * 100 + ".mp4")), reasons=frozenset({"unreadable"}))
    yield Case(f"{folder}/nul\0byte.mp4", reasons=frozenset({"not a video", "missing"}))
    yield Case("", reasons=frozenset({"missing"}))
    yield Case("http://127.0.0.1:9/x.mp4", reasons=frozenset({"missing"}))
    if os.geteuid() != 0:  # the root user may read every file
        (folder / "not_permitted.mp4").write_bytes(b"x")
        (folder / "not_permitted.mp4").chmod(0)
        yield Case(str(folder / "not_permitted.mp4"), reasons=frozenset({"not permitted"}))


def _named_strangely(folder: Path) -> Iterator[Case]:
    content = write_video(folder / "plain.mp4", 5, size=SIZE).read_bytes()
    names = [
        "a b.mp4", " leading.mp4", "'quo\"tes'.mp4", "new\nline.mp4", "-i.mp4", "%03d.mp4", "%s%n%d.mp4",
        "concat:a|b.mp4", "http:x.mp4", "data:x.mp4", "pipe:0", "file:x.mp4", "subfile,,start,0,:x.mp4",
        "*.mp4", "[a-z]?.mp4", "$(id).mp4", "#&;.mp4", "ü😀日本.mp4", "no_suffix", ".hidden.mp4",
        "n" * 240 + ".mp4", os.fsdecode(b"latin\xff.mp4"),
    ]  # fmt: skip
    for name in names:
        (folder / name).write_bytes(content)
        yield Case(str(folder / name), frames=5)


def _huge(folder: Path) -> Iterator[Case]:
    path = folder / "one_frame_of_8k.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25, options={"compression_level": "1", "pred": "none"})
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "gray"
        grey = av.VideoFrame(8192, 8192, "gray")
        grey.planes[0].update(bytes(grey.planes[0].buffer_size))
        container.mux(stream.encode(grey))
        container.mux(stream.encode())
    yield Case(str(path))
    bomb = folder / "bomb.png"
    bomb.write_bytes(_png(10000, 10000, bytes(10001 * 10000)))
    yield Case(str(bomb), reasons=NO_FRAMES)
    claims = {
        "claims.png": _png(2**31 - 1, 2**31 - 1, bytes(100)),
        "claims_less.png": _png(16000, 16000, bytes(100)),
        "claims.gif": b"GIF89a\xff\xff\xff\xff\xf7\0\0"
        + bytes(768)
        + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x08\0\x3b",
        "claims.y4m": b"YUV4MPEG2 W100000 H100000 F25:1 Ip C420jpeg\nFRAME\n" + bytes(1000),
        "claims_less.y4m": b"YUV4MPEG2 W16000 H16000 F25:1 Ip C420jpeg\nFRAME\n" + bytes(1000),
    }
    for name, content in claims.items():
        (folder / name).write_bytes(content)
        yield Case(str(folder / name), reasons=NO_FRAMES | {"unreadable"})


def _playlists(folder: Path) -> Iterator[Case]:
    """Yields files that point at ``secret.mp4`` or ``secret.ts``, valid videos that must not be opened."""
    write_video(folder / "secret.mp4", 5, size=SIZE)
    write_video(folder / "secret.ts", 5, size=SIZE)
    segments = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"
    contents = {
        "list.m3u8": segments.format("secret.ts"),
        "list_called.mp4": segments.format("secret.ts"),
        "list_of_the_net.m3u8": segments.format("http://127.0.0.1:9/secret.ts"),
        "list_absolute.m3u8": segments.format(f"file://{folder}/secret.ts"),
        "concat.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "concat.ffconcat": "ffconcat version 1.0\nfile secret.mp4\n",
        "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        'bandwidth="1"><BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\n"
        "t=0 0\nm=video 5004 RTP/AVP 96\n",
        "image.svg": '<svg xmlns="http://www.w3.org/2000/svg">'
        f'<image href="file://{folder}/secret.mp4"/></svg>',
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
        yield Case(str(folder / name), reasons=NO_FRAMES)
    (folder / "secret%01d.png").write_text("not an image")
    (folder / "secret1.png").write_bytes(_png(8, 8, bytes(9 * 8)))
    yield Case(str(folder / "secret%01d.png"), reasons=NO_FRAMES)
