"""Image files that FFmpeg shows wrongly or not at all: damaged JPEG, TIFF with JPEG data, animated WebP."""

from __future__ import annotations

import re
import struct
from typing import Any

# Containers and decoders of JPEG files.
_JPEG_FORMATS = frozenset({"image2", "jpeg_pipe", "jpegls_pipe"})
_JPEG_CODECS = frozenset({"mjpeg", "jpegls"})
# A marker behind the start of a scan, whose data have no such pair of bytes, apart from restart markers.
_JPEG_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_END = 0xD9

UNREADABLE = "a TIFF file compressed as JPEG, which cannot be read; save it as .jpg or .png"

ANIMATED = "an animated WebP, which this FFmpeg cannot decode; save it as .gif or .mp4"
_WEBP_ANIMATION = 0x02

# Tags of TIFF files, and the values of the first for the old and the new form of JPEG.
_COMPRESSION, _DNG_VERSION = 259, 50706
_AS_JPEG = frozenset({6, 7})


def refuse_damage(container: Any, stream: Any) -> bool:
    """Makes the decoder of a JPEG file refuse damaged data, which it would replace by a plain colour.

    Returns:
        True for a JPEG file. The decoder does not notice the loss of the last blocks: check its packet with
        :func:`is_complete_jpeg`.
    """
    is_jpeg = stream.codec_context.name in _JPEG_CODECS and container.format.name in _JPEG_FORMATS
    if is_jpeg:
        stream.codec_context.options = {"err_detect": "explode"}
    return is_jpeg


def is_complete_jpeg(data: bytes) -> bool:
    """Returns whether the data of a JPEG image reach its end marker (ITU-T T.81, annex B).

    A thumbnail in front of the image has an end marker as well, but lies within a segment.
    """
    at = 0
    while (match := _JPEG_MARKER.search(data, at)) is not None:
        marker, at = data[match.start() + 1], match.end()
        if marker == _JPEG_END:
            return True
        if marker not in _JPEG_WITHOUT_LENGTH:
            at += int.from_bytes(data[at : at + 2], "big")
    return False


def is_animated_webp(data: bytes) -> bool:
    """Returns whether the data are those of a WebP file with an animation (RFC 9649, section 2.7.1)."""
    return data[8:16] == b"WEBPVP8X" and len(data) > 20 and bool(data[20] & _WEBP_ANIMATION)


def is_jpeg_in_tiff(data: bytes) -> bool:
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
