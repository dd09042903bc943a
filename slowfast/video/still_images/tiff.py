"""TIFF files whose pixels are compressed as JPEG: FFmpeg shows these as a plain colour, without an error."""

from __future__ import annotations

import struct

UNREADABLE = "a TIFF file compressed as JPEG, which cannot be read; save it as .jpg or .png"

_COMPRESSION, _DNG_VERSION = 259, 50706
_AS_JPEG = frozenset({6, 7})  # the old and the new form


def is_compressed_as_jpeg(data: bytes) -> bool:
    """Returns whether the data are those of a TIFF file with JPEG compression (TIFF 6.0, sections 2 and 22).

    A DNG file with such compression, which FFmpeg decodes, is not one of them.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return False
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    count = int.from_bytes(data[start : start + 2], "little" if order == "<" else "big")
    entries = data[start + 2 : start + 2 + 12 * count]
    # Tag, type and number of values, and the value: a short integer lies in the first bytes of its field.
    values = dict(struct.iter_unpack(f"{order}H6xH2x", entries[: len(entries) // 12 * 12]))
    return _DNG_VERSION not in values and values.get(_COMPRESSION) in _AS_JPEG
