"""Still images in HEIF files (HEIC), written box by box, as no library of the tests writes tiles or crops."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np


def write_heic(
    path: Path,
    image: np.ndarray,
    *,
    coded: tuple[int, int] | None = None,
    tile: tuple[int, int] | None = None,
    rotation: int = 0,
    mirror: int | None = None,
) -> Path:
    """Writes an image (H, W, 3) uint8.

    Args:
        coded: (height, width) of the coded image, of which the image is the top left part.
        tile: (height, width) of tiles that the image is stored in.
        rotation: turn by this many degrees to the left, for display.
        mirror: then mirrored: 0 top to bottom, 1 left to right.
    """
    height, width = image.shape[:2]
    tile_height, tile_width = tile or coded or (height, width)
    rows, columns = -(-height // tile_height), -(-width // tile_width)
    canvas = np.zeros((rows * tile_height, columns * tile_width, 3), np.uint8)
    canvas[:height, :width] = image
    tiles = [
        canvas[y * tile_height : (y + 1) * tile_height, x * tile_width : (x + 1) * tile_width]
        for y in range(rows)
        for x in range(columns)
    ]
    data, settings = _encode(tiles)

    # Properties, numbered from 1 on in the order in which they are stored.
    properties = [_box(b"hvcC", settings), _size_box(tile_height, tile_width), _size_box(height, width)]
    shown = [_box(b"irot", bytes([rotation // 90]))] if rotation else []
    shown += [] if mirror is None else [_box(b"imir", bytes([mirror]))]
    if tile is None and coded is not None:
        # A clean aperture: size, and the offset of its centre from the centre of the coded image.
        offsets = struct.pack(">iIiI", width - tile_width, 2, height - tile_height, 2)
        shown.insert(0, _box(b"clap", struct.pack(">4I", width, 1, height, 1) + offsets))
    properties += shown
    shown_numbers = list(range(4, 4 + len(shown)))

    items = [(number, b"hvc1", content) for number, content in enumerate(data, 1)]
    own = {number: [1, 2] for number, *_ in items}
    primary, references = 1, b""
    if tile is None:
        own[1] += shown_numbers
    else:
        primary = len(items) + 1
        items.append((primary, b"grid", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)))
        own[primary] = [3, *shown_numbers]
        numbers = struct.pack(f">HH{len(data)}H", primary, len(data), *range(1, len(data) + 1))
        references = _full_box(b"iref", _box(b"dimg", numbers))
    path.write_bytes(_file(items, own, properties, primary, references))
    return path


def _encode(images: list[np.ndarray]) -> tuple[list[bytes], bytes]:
    """Returns each image as an HEVC frame, and the settings that all of them share."""
    target = Path("/dev/shm") if Path("/dev/shm").exists() else Path(".")
    path = target / f"heif-{id(images)}.mp4"
    try:
        with av.open(str(path), "w") as container:
            options = {"preset": "ultrafast", "crf": "4", "x265-params": "log-level=none:keyint=1"}
            stream: Any = container.add_stream("libx265", rate=1, options=options)
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "yuv444p"
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        with av.open(str(path)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
            return packets, bytes(container.streams.video[0].codec_context.extradata or b"")
    finally:
        path.unlink()


def _file(
    items: list[tuple[int, bytes, bytes]],
    own: dict[int, list[int]],
    properties: list[bytes],
    primary: int,
    references: bytes,
) -> bytes:
    entries = b"".join(
        _box(b"infe", struct.pack(">IHH4sx", 2 << 24, number, 0, kind)) for number, kind, _ in items
    )
    associations = b"".join(
        struct.pack(">HB", number, len(indices)) + bytes(indices) for number, indices in own.items()
    )

    def description(data_start: int) -> bytes:
        places, at = b"", data_start
        for number, _, content in items:
            places += struct.pack(">HHHII", number, 0, 1, at, len(content))
            at += len(content)
        return _full_box(
            b"meta",
            _full_box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict"))
            + _full_box(b"pitm", struct.pack(">H", primary))
            + _full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(items)) + places)
            + _full_box(b"iinf", struct.pack(">H", len(items)) + entries)
            + references
            + _box(
                b"iprp",
                _box(b"ipco", b"".join(properties))
                + _full_box(b"ipma", struct.pack(">I", len(own)) + associations),
            ),
        )

    head = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    start = len(head) + len(description(0)) + 8
    return head + description(start) + _box(b"mdat", b"".join(content for *_, content in items))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _full_box(kind: bytes, content: bytes) -> bytes:
    """A box with a version and flags, both 0."""
    return _box(kind, bytes(4) + content)


def _size_box(height: int, width: int) -> bytes:
    return _full_box(b"ispe", struct.pack(">II", width, height))
