"""Damage of JPEG files, which FFmpeg's decoder conceals or does not notice."""

from __future__ import annotations

import re
from typing import Any

# Containers and decoders of JPEG files.
_JPEG_FORMATS = frozenset({"image2", "jpeg_pipe", "jpegls_pipe"})
_JPEG_CODECS = frozenset({"mjpeg", "jpegls"})
# A marker behind the start of a scan, whose data have no such pair of bytes, apart from restart markers.
_JPEG_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_END = 0xD9


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
