"""The video of a multipart form, written to a file while it arrives.

Sizes are counted on the bytes that arrive; a header that declares fewer is not trusted.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from slowfast.files import FULL_DISK
from vtn.predictor.texts import safe_text
from vtn.serving.limits import Limits, Refusal, too_large

FIELD = "video"
FORM_BYTES = 65_536
"""Most bytes beside the video: boundaries, headers, other fields."""
_NAME_CHARACTERS = 120
# Clients of .NET write a name that is not ASCII in this form, and for others as "=?utf-8?B?…?="; some of Java
# set it in quotes. The standard of forms excludes it (RFC 7578), so that the parser leaves it out.
_EXTENDED_NAME = re.compile(rb"""filename\*="?utf-8''([^;\s"]*)""", re.IGNORECASE)
_DRAIN_SECONDS = 10.0
# The parser warns of each damaged form, without saying whose; the line of the request has its status.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())


async def receive_video(chunks: AsyncIterator[bytes], content_type: str, path: Path, limits: Limits) -> str:
    """Writes the video of a form to ``path`` and returns the name that the client gave it.

    Raises:
        Refusal: 413 for too many bytes, 415 for another type of content, 408 for an upload that takes too
            long or stops, 400 for a form that is damaged, incomplete or has no video, 503 for a full disk.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refusal(
            415,
            "the request is not a form with a file",
            f"send multipart/form-data with the video in the field {FIELD!r}",
        )
    try:
        async with asyncio.timeout(limits.upload_seconds):
            with path.open("wb") as file:
                form = VideoForm(options[b"boundary"], file, limits)
                async for chunk in _check_arrival(chunks, limits):
                    form.feed(chunk)
                return form.finish()
    except TimeoutError:
        raise Refusal(
            408, f"the upload took longer than {limits.upload_seconds:g} seconds", "send a smaller file"
        ) from None
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise Refusal(
            503, "the server has no room for the upload", "try again later, or tell its operator"
        ) from error
    except MultipartParseError:
        raise _damaged() from None
    except ValueError as error:  # a boundary of too many characters
        raise Refusal(400, "the boundary of the form cannot be used", "send a common form") from error


async def _check_arrival(chunks: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[bytes]:
    """Yields the chunks; raises ``Refusal`` for an upload that delivers nothing, whose client may be gone."""
    while True:
        try:
            async with asyncio.timeout(limits.idle_seconds):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise Refusal(
                408,
                f"the upload delivered nothing for {limits.idle_seconds:g} seconds",
                "send the file again",
            ) from None
        if chunk is None:
            return
        yield chunk


def _damaged() -> Refusal:
    return Refusal(
        400,
        "the form is damaged or ends before its last boundary",
        "send the file again, as multipart/form-data",
    )


class VideoForm:
    """A form as it arrives: the video goes to a file, other fields are skipped.

    Args:
        boundary: between the parts of the form.
        file: receives the video.
        limits: of the upload.
    """

    def __init__(self, boundary: bytes, file: BinaryIO, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._received = self._written = 0
        self._header, self._value = b"", b""
        self._is_video = self._is_complete = False
        self._name: str | None = None
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_part_data": self._write,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Refusal: 413 as soon as the bytes are too many, of the video or beside it.
            MultipartParseError: for a damaged form.
        """
        self._received += len(chunk)
        if self._received > self._limits.upload_bytes + FORM_BYTES:
            raise too_large(self._limits)
        self._parser.write(chunk)
        if self._received - self._written > FORM_BYTES:
            raise Refusal(
                413,
                f"the form has more than {FORM_BYTES // 1000} kB beside the video",
                f"send the video in the field {FIELD!r} alone",
            )

    def finish(self) -> str:
        """Returns the name of the video.

        Raises:
            Refusal: 400 for a form that is incomplete or has no video.
        """
        if not self._is_complete:
            raise _damaged()
        if self._name is None:
            raise Refusal(
                400, f"the form has no file in the field {FIELD!r}", f"send the video in the field {FIELD!r}"
            )
        return self._name

    def _begin_part(self) -> None:
        self._is_video = False

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if options.get(b"name") == FIELD.encode():
                if self._name is not None:
                    raise Refusal(400, "the form has several videos", "send one video per request")
                extended = _EXTENDED_NAME.search(self._value)
                name = unquote_to_bytes(extended[1]) if extended else options.get(b"filename", b"")
                self._is_video, self._name = True, clean_name(name)
        self._header, self._value = b"", b""

    def _write(self, data: bytes, start: int, end: int) -> None:
        if not self._is_video:
            return
        self._written += end - start
        if self._written > self._limits.upload_bytes:
            raise too_large(self._limits)
        self._file.write(data[start:end])

    def _end(self) -> None:
        self._is_complete = True


def clean_name(name: bytes) -> str:
    r"""Returns the last part of a file's name for answers, without characters that are not safe to show.

    >>> clean_name(b"clips/../a\x1b.mp4"), clean_name(b"")
    ('a�.mp4', 'video')
    """
    text = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2][:_NAME_CHARACTERS]
    return safe_text(text) or "video"


async def drain(chunks: AsyncIterator[bytes], limits: Limits) -> None:
    """Reads what remains of a refused upload, within bounds, so that its client gets to read the answer."""
    left = limits.upload_bytes
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    return
    except TimeoutError:
        return
