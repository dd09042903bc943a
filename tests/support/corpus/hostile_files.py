"""Files that are not videos, have strange names, claim huge sizes, or name other files."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from tests.support.corpus.case import NO_FRAMES, SIZE, Case
from tests.support.videos import write_video

NOT_A_FILE = frozenset({"not a file"})


def not_videos(folder: Path) -> Iterator[Case]:
    """Yields files of other contents that are called videos."""
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
    image.write_bytes(png(8, 8, bytes(9 * 8)))
    yield Case(str(image), reasons=NO_FRAMES)


def png(width: int, height: int, rows: bytes) -> bytes:
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


def not_files(folder: Path) -> Iterator[Case]:
    """Yields paths that are not readable files."""
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


def named_strangely(folder: Path) -> Iterator[Case]:
    """Yields valid videos whose names look like options, patterns or addresses."""
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


def huge(folder: Path) -> Iterator[Case]:
    """Yields small files that decode to very large images, or claim to."""
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
    bomb.write_bytes(png(10000, 10000, bytes(10001 * 10000)))
    yield Case(str(bomb), reasons=NO_FRAMES)
    claims = {
        "claims.png": png(2**31 - 1, 2**31 - 1, bytes(100)),
        "claims_less.png": png(16000, 16000, bytes(100)),
        "claims.gif": b"GIF89a\xff\xff\xff\xff\xf7\0\0"
        + bytes(768)
        + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x08\0\x3b",
        "claims.y4m": b"YUV4MPEG2 W100000 H100000 F25:1 Ip C420jpeg\nFRAME\n" + bytes(1000),
        "claims_less.y4m": b"YUV4MPEG2 W16000 H16000 F25:1 Ip C420jpeg\nFRAME\n" + bytes(1000),
    }
    for name, content in claims.items():
        (folder / name).write_bytes(content)
        yield Case(str(folder / name), reasons=NO_FRAMES | {"unreadable"})


def playlists(folder: Path) -> Iterator[Case]:
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
    (folder / "secret1.png").write_bytes(png(8, 8, bytes(9 * 8)))
    yield Case(str(folder / "secret%01d.png"), reasons=NO_FRAMES)
