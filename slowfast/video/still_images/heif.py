"""The image of a HEIF file (HEIC, AVIF) behind what FFmpeg decodes of it: its true size, and its tiles.

FFmpeg shows the coded image, which may be larger than the image itself, and the tiles of a large image (as
phones store photos) as separate streams. PyAV offers neither the crop nor the layout of tiles. They are read
here from the boxes of ISO/IEC 23008-12 (HEIF) and 14496-12 (ISO files).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np
from av.filter import Graph

from slowfast.video.container import Source, open_binary, open_container

_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif", b"avis", b"miaf", b"msf1"}
)
_MOST_BYTES = 4 << 20  # of the boxes that describe images
_MOST_PIXELS = 1 << 28  # of an image in tiles


class HeifError(ValueError):
    """The image cannot be read as a whole."""


@dataclass(frozen=True)
class HeifImage:
    """The composition of an image from coded images.

    Attributes:
        left, top, width, height: the part of the coded image that is the image, in pixels.
        columns: of tiles; 0 for an image that is stored in one piece.
        tiles: numbers of the items that the tiles are, row by row.
        turns: for tiles, (name of the box, its byte) of each rotation and mirroring, in order. FFmpeg applies
            those of an image in one piece.
    """

    left: int
    top: int
    width: int
    height: int
    columns: int = 0
    tiles: tuple[int, ...] = ()
    turns: tuple[tuple[bytes, int], ...] = ()

    def join(self, tiles: Mapping[int, np.ndarray]) -> np.ndarray:
        """Returns the upright image (H, W, 3) of its tiles (h, w, 3), by number of the item.

        Raises:
            HeifError: if a tile is missing or has another size than the first.
        """
        parts = [tiles.get(number) for number in self.tiles]
        if parts[0] is None or any(part is None or part.shape != parts[0].shape for part in parts):
            raise HeifError(f"{len(tiles)} of {len(self.tiles)} tiles of the image can be decoded")
        height, width = parts[0].shape[:2]
        rows = len(parts) // self.columns
        # (rows, columns, h, w, 3) -> (rows h, columns w, 3)
        grid = np.stack(parts).reshape(rows, self.columns, height, width, 3)  # type: ignore[arg-type]
        image = grid.swapaxes(1, 2).reshape(rows * height, self.columns * width, 3)
        image = image[self.top : self.top + self.height, self.left : self.left + self.width]
        for kind, value in self.turns:
            if kind == b"irot":
                image = np.rot90(image, value & 3)
            else:
                image = image[:, ::-1] if value & 1 else image[::-1]
        return np.ascontiguousarray(image)


def read_heif(source: Source) -> HeifImage | None:
    """Returns the composition of the image of a HEIF file; None for other files, and for plain coded images.

    Raises:
        HeifError: if the layout of its tiles is not a valid one.
    """
    if isinstance(source, str | os.PathLike):
        with open_binary(source) as file:
            return _read(file)
    source.seek(0)
    return _read(source)


def crop_frame(frame: Any, image: HeifImage, stream: Any) -> Any:
    """Returns the part of a decoded frame that is the image."""
    graph = Graph()
    source = graph.add_buffer(template=stream)
    size = f"{image.width}:{image.height}:{image.left}:{image.top}:exact=1"
    graph.link_nodes(source, graph.add("crop", size), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def join_tiles(frame: Any, image: HeifImage, source: Source) -> Any:
    """Returns the upright image as a frame, in place of the one of its first tile.

    Raises:
        HeifError: if a tile cannot be decoded, and if all tiles together are too large.
    """
    tiles: dict[int, np.ndarray] = {}
    with open_container(source) as container:
        for packet in container.demux(*container.streams.video):
            if packet.stream.id not in image.tiles:
                continue
            for tile in packet.decode() if packet.size else ():
                # A layout may repeat a tile, so that a small file would fill the memory.
                if tile.width * tile.height * len(image.tiles) > _MOST_PIXELS:
                    size = f"{len(image.tiles)} tiles of {tile.width} x {tile.height} pixels"
                    raise HeifError(f"{size}; {_MOST_PIXELS:,} pixels are the most")
                tiles[packet.stream.id] = tile.to_ndarray(format="rgb24")
    joined = av.VideoFrame.from_ndarray(image.join(tiles), format="rgb24")
    joined.pts = frame.pts
    return joined


def _read(file: BinaryIO) -> HeifImage | None:
    start = file.read(12)
    if start[4:8] != b"ftyp" or start[8:12] not in _BRANDS:
        return None
    try:
        description = _description(file)
        return None if description is None else _image(file, description)
    except HeifError:
        raise
    except (struct.error, IndexError, ZeroDivisionError, KeyError, ValueError, OverflowError):
        return None  # damaged, such as a place behind the end of any file; FFmpeg decides


def _description(file: BinaryIO) -> bytes | None:
    """Returns the content of the ``meta`` box of a file without tracks."""
    found, at = None, 0
    while True:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return found
        size, kind = struct.unpack(">I4s", head[:8])
        length = 8
        if size == 1 and len(head) == 16:
            size, length = struct.unpack(">Q", head[8:])[0], 16
        if kind == b"moov":  # an animation: FFmpeg reads its track
            return None
        if kind == b"meta" and 12 <= size <= _MOST_BYTES:
            file.seek(at + length + 4)  # behind version and flags
            found = file.read(size - length - 4)
        if size < length:
            return found
        at += size


def _image(file: BinaryIO, description: bytes) -> HeifImage | None:
    boxes = dict(_boxes(description))
    primary = _number(boxes[b"pitm"], 4, 4 if boxes[b"pitm"][0] else 2)
    own = _properties(boxes[b"iprp"], primary)
    sizes = dict(own)
    if _kind_of(boxes[b"iinf"], primary) != b"grid":
        return _crop(sizes)

    # The layout of tiles: flags, rows and columns less one, width and height of the image.
    layout = _data_of(file, boxes, primary)
    rows, columns = layout[2] + 1, layout[3] + 1
    width, height = struct.unpack(">II" if layout[1] & 1 else ">HH", layout[4 : 12 if layout[1] & 1 else 8])
    tiles = _tiles_of(boxes[b"iref"], primary)
    if len(tiles) != rows * columns or width * height > _MOST_PIXELS:
        raise HeifError(f"an image of {width} x {height} pixels in {len(tiles)} of {rows * columns} tiles")
    crop = _crop(sizes) or HeifImage(0, 0, width, height)
    turns = tuple((kind, content[0]) for kind, content in own if kind in (b"irot", b"imir"))
    return HeifImage(crop.left, crop.top, crop.width, crop.height, columns, tiles, turns)


def _crop(properties: Mapping[bytes, bytes]) -> HeifImage | None:
    """Returns the clean aperture of a coded image; None without one, and if it is not within that image."""
    if b"clap" not in properties:
        return None
    # Size and the offset of the centre from that of the coded image, as fractions (ISO/IEC 14496-12, 12.1.4).
    width_n, width_d, height_n, height_d = struct.unpack(">4I", properties[b"clap"][:16])
    x_n, x_d, y_n, y_d = struct.unpack(">iIiI", properties[b"clap"][16:32])
    coded_width, coded_height = struct.unpack(">II", properties[b"ispe"][4:12])
    width, height = round(width_n / width_d), round(height_n / height_d)
    left = round(x_n / x_d + (coded_width - width) / 2)
    top = round(y_n / y_d + (coded_height - height) / 2)
    inside = 0 <= left <= coded_width - width and 0 <= top <= coded_height - height
    return HeifImage(left, top, width, height) if inside and width and height else None


# ------------------------------------------------------------------------------------------ boxes


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (kind, content) of the boxes in a row."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")


def _kind_of(entries: bytes, item: int) -> bytes:
    """Returns the kind of an item, from the content of ``iinf``."""
    for kind, entry in _boxes(entries[8 if entries[0] else 6 :]):
        if kind == b"infe" and entry[0] in (2, 3):
            length = 2 if entry[0] == 2 else 4
            if _number(entry, 4, length) == item:
                return entry[6 + length : 10 + length]
    return b""


def _tiles_of(references: bytes, item: int) -> tuple[int, ...]:
    """Returns the items that an item is derived from, from the content of ``iref``."""
    length = 4 if references[0] else 2
    for kind, entry in _boxes(references[4:]):
        if kind == b"dimg" and _number(entry, 0, length) == item:
            count, first = _number(entry, length, 2), length + 2
            return tuple(_number(entry, first + length * i, length) for i in range(count))
    return ()


def _properties(content: bytes, item: int) -> list[tuple[bytes, bytes]]:
    """Returns (kind, content) of an item's properties in order, from the content of ``iprp``."""
    boxes = dict(_boxes(content))
    stored, associations = list(_boxes(boxes[b"ipco"])), boxes[b"ipma"]
    id_bytes = 4 if associations[0] else 2
    index_bytes = 2 if associations[3] & 1 else 1
    # The highest bit says whether a reader must know the property.
    mask = 0x7FFF if index_bytes == 2 else 0x7F
    at = 8
    for _ in range(_number(associations, 4, 4)):
        number, count = _number(associations, at, id_bytes), associations[at + id_bytes]
        first = at + id_bytes + 1
        at = first + count * index_bytes
        if number == item:
            indices = [_number(associations, i, index_bytes) & mask for i in range(first, at, index_bytes)]
            return [stored[index - 1] for index in indices if index]
    return []


def _data_of(file: BinaryIO, boxes: Mapping[bytes, bytes], item: int) -> bytes:
    """Returns the data of an item, at most 64 bytes, as ``iloc`` says where it is."""
    places = boxes[b"iloc"]
    version = places[0]
    offset_bytes, length_bytes = places[4] >> 4, places[4] & 15
    base_bytes, index_bytes = places[5] >> 4, places[5] & 15 if version else 0
    wide = 4 if version == 2 else 2
    at = 6 + wide
    for _ in range(_number(places, 6, wide)):
        number, at = _number(places, at, wide), at + wide
        inside = version > 0 and places[at + 1] & 15 == 1  # in the box ``idat``
        at += 4 if version else 2
        base, at = _number(places, at, base_bytes), at + base_bytes
        extents, at = _number(places, at, 2), at + 2
        offset = base + _number(places, at + index_bytes, offset_bytes)
        length = _number(places, at + index_bytes + offset_bytes, length_bytes)
        at += extents * (index_bytes + offset_bytes + length_bytes)
        if number == item:
            length = min(length, 64)
            if inside:
                return boxes[b"idat"][offset : offset + length]
            file.seek(offset)
            return file.read(length)
    raise KeyError(item)
