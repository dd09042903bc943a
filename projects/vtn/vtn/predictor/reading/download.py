"""Videos of addresses, copied to a temporary file before they are read.

FFmpeg takes the end of a lost connection for the end of the video, and a video is read several times and from
several places, which some servers refuse.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import urllib.request
from http.client import HTTPException, HTTPResponse
from typing import Any, BinaryIO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit

from slowfast import __version__
from slowfast.errors import DecodeError, first_line
from slowfast.files import FULL_DISK
from slowfast.video.container import Address

_CHUNK_BYTES = 1 << 20
# Fraction of the free disk that a video may take; an address may also be that of a stream without an end.
_DISK_FRACTION = 0.5
# Seconds in which a server must send something.
_SECONDS = 10.0
# Characters of an address that stay as they are.
_SAFE = "%/:?&=#+~!$'()*,;@[]"
_PLAYLIST = b"#EXTM3U"
_REASONS = {401: "not permitted", 403: "not permitted", 404: "missing", 410: "missing"}


def download(address: Address) -> BinaryIO:
    """Returns the content of an ``http(s)://`` address as an open file, which exists as long as it is used.

    Raises:
        DecodeError: for an address that cannot be read to its end, and a disk without room for its content.
    """
    try:
        with _open(address.url) as response:
            return _copy(address.name, response)
    except HTTPError as error:
        answer = f"the server answers {error.code} {error.reason}"
        raise DecodeError(address.name, _REASONS.get(error.code, "unreadable"), first_line(answer)) from error
    except (HTTPException, OSError, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        detail = f"the connection failed: {getattr(cause, 'strerror', None) or first_line(str(cause))}"
        if isinstance(cause, TimeoutError):
            detail = f"the server sent nothing for {_SECONDS:g} s; try again"
        raise DecodeError(address.name, "unreadable", detail) from error


def _open(url: str) -> HTTPResponse:
    """Requests an address; redirections lead to addresses of the same kind alone."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    plain = parts._replace(netloc=host, path=quote(parts.path, _SAFE), query=quote(parts.query, _SAFE))
    request = urllib.request.Request(plain.geturl(), headers={"User-Agent": f"slowfast-vtn/{__version__}"})
    if at:
        credentials = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return cast(HTTPResponse, opener.open(request, timeout=_SECONDS))


def _copy(name: str, response: HTTPResponse) -> BinaryIO:
    announced, received = response.length, 0
    room = int(shutil.disk_usage(tempfile.gettempdir()).free * _DISK_FRACTION)
    # Without a name on the disk: it is gone as soon as this process ends in any way.
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with its last use)
    while chunk := response.read(_CHUNK_BYTES):
        received += len(chunk)
        if max(received, announced or 0) > room:
            raise _no_room(name)
        try:
            file.write(chunk)
        except OSError as error:
            if error.errno in FULL_DISK:
                raise _no_room(name) from error
            raise
    if announced is not None and received < announced:
        detail = f"the connection ended after {received} of {announced} bytes; try again"
        raise DecodeError(name, "unreadable", detail)
    file.seek(0)
    if file.read(len(_PLAYLIST)) == _PLAYLIST:  # which FFmpeg does not tell from a damaged video by content
        detail = (
            "it is a playlist, which is not followed; `ffmpeg -i ADDRESS -c copy video.mp4` makes a video"
        )
        raise DecodeError(name, "not a video", detail)
    return cast(BinaryIO, _Named(file, name))


def _no_room(name: str) -> DecodeError:
    return DecodeError(
        name,
        "unreadable",
        f"it needs more than half of the free disk of {tempfile.gettempdir()}; set TMPDIR to a larger one, "
        "or follow a stream without an end by --live",
    )


class _Named:
    """A file that has the name of an address, for messages."""

    def __init__(self, file: Any, name: str) -> None:
        self.name = name
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
