"""The true size of a still image in a HEIF file (HEIC, AVIF).

FFmpeg shows the coded image, which may be larger than the image itself, and the tiles of a large image as
separate streams. PyAV tells neither. The boxes read here are those of ISO/IEC 23008-12 (HEIF) and 14496-12.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from slowfast.video.container import Source

_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif", b"avis", b"miaf", b"msf1"}
)
_MOST_BYTES = 4 << 20  # of the boxes that describe images


class HeifError(ValueError):
    """The image cannot be read as a whole."""


@dataclass(frozen=True)
class Crop:
    """The part of a coded image that is the image, in pixels."""

    left: int
    top: int
    width: int
    height: int


def read_crop(source: Source) -> Crop | None:
    """Returns the crop of a HEIF file's image; None for other files, and where the coded image is the image.

    Raises:
        HeifError: if the image consists of tiles.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return _read_crop(file)
    source.seek(0)
    crop = _read_crop(source)
    source.seek(0)
    return crop


def _read_crop(file: BinaryIO) -> Crop | None:
    start = file.read(12)
    if start[4:8] != b"ftyp" or start[8:12] not in _BRANDS:
        return None
    description = _description(file)
    try:
        return None if description is None else _crop_of(description)
    except (struct.error, IndexError, ZeroDivisionError, KeyError):
        return None  # damaged; FFmpeg decides


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


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (kind, content) of the boxes in a row."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _crop_of(description: bytes) -> Crop | None:
    boxes = dict(_boxes(description))
    wide = boxes[b"pitm"][0] > 0
    primary = int.from_bytes(boxes[b"pitm"][4 : 8 if wide else 6], "big")
    if _kind_of(boxes[b"iinf"], primary) == b"grid":
        raise HeifError("the image is stored in tiles, which are not joined; convert it to JPEG or PNG")
    properties = dict(_boxes(boxes[b"iprp"]))
    stored = list(_boxes(properties[b"ipco"]))
    own = dict(stored[index - 1] for index in _property_indices(properties[b"ipma"], primary) if index)
    if b"clap" not in own:
        return None
    # Size and the offset of the centre from that of the coded image, as fractions (ISO/IEC 14496-12, 12.1.4).
    width_n, width_d, height_n, height_d = struct.unpack(">4I", own[b"clap"][:16])
    x_n, x_d, y_n, y_d = struct.unpack(">iIiI", own[b"clap"][16:32])
    coded_width, coded_height = struct.unpack(">II", own[b"ispe"][4:12])
    width, height = round(width_n / width_d), round(height_n / height_d)
    left, top = round(x_n / x_d + (coded_width - width) / 2), round(y_n / y_d + (coded_height - height) / 2)
    inside = 0 <= left <= coded_width - width and 0 <= top <= coded_height - height
    return Crop(left, top, width, height) if inside and width and height else None


def _kind_of(entries: bytes, item: int) -> bytes:
    """Returns the kind of an item, from the content of ``iinf``."""
    for kind, entry in _boxes(entries[8 if entries[0] else 6 :]):
        if kind == b"infe" and entry[0] in (2, 3):
            length = 2 if entry[0] == 2 else 4
            if int.from_bytes(entry[4 : 4 + length], "big") == item:
                return entry[6 + length : 10 + length]
    return b""


def _property_indices(associations: bytes, item: int) -> list[int]:
    """Returns the numbers, from 1 on, of an item's properties, from the content of ``ipma``."""
    id_bytes = 4 if associations[0] else 2
    index_bytes = 2 if associations[3] & 1 else 1
    at = 8
    for _ in range(struct.unpack(">I", associations[4:8])[0]):
        number = int.from_bytes(associations[at : at + id_bytes], "big")
        count = associations[at + id_bytes]
        first, at = at + id_bytes + 1, at + id_bytes + 1 + count * index_bytes
        if number == item:
            # The highest bit says whether a reader must know the property.
            mask = 0x7FFF if index_bytes == 2 else 0x7F
            row = associations[first:at]
            return [
                int.from_bytes(row[i : i + index_bytes], "big") & mask
                for i in range(0, len(row), index_bytes)
            ]
    return []
