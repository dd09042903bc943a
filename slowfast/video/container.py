"""Opening of a media file with FFmpeg, without following references to other files; choice of its stream."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import av

from slowfast.errors import DecodeError
from slowfast.log import get_logger, log_once
from slowfast.video.archive.member import TarMember


@dataclass(frozen=True)
class Address:
    """An address in the network that the user has written, such as ``https://…``; no file contains any.

    Attributes:
        url: with a protocol of ``_NETWORK``; it may contain a password.
    """

    url: str

    @property
    def name(self) -> str:
        """The address without secrets, for messages and results."""
        return without_secrets(self.url)


# User and password of an address, and the values of parameters whose names end as those of secrets do.
_USER = re.compile(r"://[^/\s]*@")
_SECRET = re.compile(
    r"([?&;~][^=&;~#\s]*(?:auth|credential|hmac|jwt|key|pass|passphrase|passwd|password|psw|pw|pwd|secret|sig"
    r"|sign|signature|token)=)[^&;~#\s]*",
    re.IGNORECASE,
)


Source = str | os.PathLike[str] | BinaryIO

_logger = get_logger(__name__)

# Formats that only name where images are to be found: other files, patterns of file names, the network.
# A file of such a format may be named like a video and make FFmpeg read any file of this computer.
# The scripts of AviSynth and VapourSynth, which only some builds of FFmpeg have, are programs even.
_POINTING_ELSEWHERE = frozenset(
    {
        *("avisynth", "concat", "concatf", "dash", "dvdvideo", "hls", "image2", "imf", "lavfi", "rtp"),
        *("rtsp", "sap", "sdp", "tee", "vapoursynth", "vobsub", "webm_dash_manifest"),
    }
)
_FORMATS = ",".join(sorted(av.formats_available - _POINTING_ELSEWHERE))
# FFmpeg recognises some still images by these names alone, through `image2`. That format may stand for many
# files, but not with the pattern type "none".
_STILL_SUFFIXES = frozenset(
    {
        *(".bmp", ".cri", ".dds", ".dng", ".dpx", ".exr", ".gif", ".hdr", ".im1", ".im24", ".im32", ".im8"),
        *(".j2c", ".j2k", ".jls", ".jp2", ".jpc", ".jpeg", ".jpg", ".jps", ".jxl", ".jxs", ".ljpg", ".mng"),
        *(".mpo", ".pam", ".pbm", ".pcx", ".pfm", ".pgm", ".pgmyuv", ".phm", ".pic", ".pix", ".png", ".pnm"),
        *(".pns", ".ppm", ".psd", ".ptx", ".qoi", ".ras", ".sgi", ".sun", ".sunras", ".tga", ".tif", ".tiff"),
        *(".vbn", ".vst", ".webp", ".xbm", ".xface", ".xpm", ".xwd"),
    }
)
# Protocols of addresses, and those that they are carried by; `file` is not among them.
_NETWORK = "http,https,tcp,tls,udp,rtp,rtsp,rtsps,rtmp,rtmps,srt,crypto,httpproxy"
_NETWORK_SECONDS = 10.0
_PATTERN_LETTERS = frozenset("%*?[{")


def without_secrets(text: str) -> str:
    """Returns a text with ``***`` in place of the user, password and keys of each address in it.

    >>> without_secrets("rtsp://admin:secret@camera/1?channel=2"), without_secrets("https://host/v.mp4?sig=a%2F")
    ('rtsp://***@camera/1?channel=2', 'https://host/v.mp4?sig=***')
    """
    return _SECRET.sub(r"\1***", _USER.sub("://***@", text)) if "://" in text else text


def open_container(source: Source | Address) -> Any:
    """Opens a media file for reading.

    Args:
        source: a path, which is never read as a network address or a pattern of file names; a member of an
            archive; a seekable binary file; or an address, which is opened with the protocols of the network
            alone.

    Raises:
        av.FFmpegError, OSError, ValueError: if the source is not a media file, or points at other files.
    """
    if isinstance(source, Address):
        return _open_address(source)
    if not isinstance(source, str | os.PathLike):
        return _open(source, _FORMATS)
    if isinstance(source, TarMember):
        return _open(source.open(), _FORMATS)  # closed when the container is released
    path = os.fspath(source)
    if os.path.splitext(path)[1].lower() not in _STILL_SUFFIXES:
        return _open(f"file:{path}", _FORMATS)
    if not _PATTERN_LETTERS.isdisjoint(path):
        # By its content: FFmpeg looks at the name alone where the name could be a pattern.
        file = open(path, "rb")  # noqa: SIM115  (closed with the container, when both are released)
        try:
            return _open(file, _FORMATS)
        except av.FFmpegError:
            file.close()
    return _open(f"file:{path}", f"{_FORMATS},image2")


# From version 19 on PyAV decodes metadata that is not UTF-8 by itself, and has no argument for it.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def _open(source: Any, formats: str) -> Any:
    options = {"format_whitelist": formats, "protocol_whitelist": "file", "pattern_type": "none"}
    return _with_reason(
        lambda: av.open(source if isinstance(source, str) else _Unnamed(source), options=options, **_METADATA)
    )


def _with_reason(open_source: Callable[[], Any]) -> Any:
    """Opens a source; a source that is refused is opened once more, for FFmpeg's reason in the error.

    PyAV learns the reason from FFmpeg's messages, by a callback that takes the interpreter's lock. It is set
    for the second try alone: a decoding thread with a message would wait for a lock that the thread holds
    which closes its video and waits for the decoding thread. Other packages set it as well, such as the
    torchvision of torch 2.9 when it is imported.
    """
    if av.logging.get_level() != av.logging.PANIC:  # else another thread makes its second try
        av.logging.set_level(None)
    try:
        return open_source()
    except (av.InvalidDataError, av.ArgumentError):
        av.logging.set_level(av.logging.PANIC)
        try:
            return open_source()
        finally:
            av.logging.set_level(None)


def _open_address(address: Address) -> Any:
    # Playlists are not followed here either: an address must not lead to another one.
    formats = f"{_FORMATS},rtsp" if address.url.lower().startswith("rtsp") else _FORMATS
    options = {"format_whitelist": formats, "protocol_whitelist": _NETWORK, "rtsp_transport": "tcp"}
    options["merge_pmt_versions"] = "1"  # the streams of a transport stream may get other numbers on the way
    try:
        return _with_reason(
            lambda: av.open(address.url, options=options, timeout=_NETWORK_SECONDS, **_METADATA)
        )
    except av.FFmpegError as error:  # whose text has the address
        raise type(error)(error.errno, error.strerror, address.name, error.log) from None


class _Unnamed:
    """A binary file from its start, without its name, by which FFmpeg would choose the format.

    It has a position of its own, since several containers may read the same file object, as where a second
    decoder looks for missing frames.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if self._file.tell() != self._at:
            self._file.seek(self._at)
        data: bytes = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset, whence = offset + self._at, os.SEEK_SET
        self._file.seek(offset, whence)
        self._at = self._file.tell()
        return self._at

    def tell(self) -> int:
        return self._at


def is_end(packet: Any) -> bool:
    """Returns whether a packet of PyAV marks the end of a stream; a reader must not ask for another one.

    Behind it PyAV looks for the marks of streams that were found while reading, as in FLV files and RTMP
    streams, which its list of streams lacks: it raises an IndexError.
    """
    return not packet.size and packet.pts is None and packet.dts is None


def open_error_text(error: Exception) -> str:
    """Returns the message of an error in opening or reading, without its number and the allowed formats."""
    text = str(error)
    if "whitelist" in text:
        return "its format is a playlist, a network stream or a list of other files, which are not followed"
    if isinstance(error, av.ExitError):  # by the time limit of an address
        return f"nothing came for {_NETWORK_SECONDS:g} s"
    if isinstance(error, OSError | av.FFmpegError) and error.strerror:
        log = getattr(error, "log", None) or ()
        return "; ".join([error.strerror, *(part.strip() for part in log[2:])])
    return text


def choose_video_stream(container: Any, name: str) -> Any:
    """Returns the video stream that players show; None if the file has no video stream.

    Cover images and thumbnails are passed over, then FFmpeg's own choice counts (``av_find_best_stream``:
    the default track first, then the longer and larger one). Where there was a choice, the log says so.

    Args:
        name: of the file, for the log.
    """
    streams = container.streams.video
    if len(streams) == 1 and int(streams[0].disposition) in (0, int(av.stream.Disposition.default)):
        return streams[0]
    moving = [stream for stream in streams if not _is_thumbnail(stream)]
    if not moving:
        return None
    best = container.streams.best("video")
    defaults = (one for one in moving if one.disposition & av.stream.Disposition.default)
    chosen = best if best in moving else next(defaults, moving[0])
    if len(streams) > 1 and not is_dependent(chosen):
        others = [_describe_stream(stream) for stream in streams if stream.index != chosen.index]
        text = f"{name}: reads video stream {_describe_stream(chosen)}; not {', '.join(others)}"
        log_once(_logger, text, logging.WARNING)
    return chosen


def _is_thumbnail(stream: Any) -> bool:
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return bool(stream.disposition & still)


def is_dependent(stream: Any) -> bool:
    """Returns whether a stream is only a part of what is shown, such as a tile of an image."""
    return bool(stream.disposition & av.stream.Disposition.dependent)


def _describe_stream(stream: Any) -> str:
    context = stream.codec_context
    if context is None:
        return f"{stream.index} (no decoder)"
    kind = " cover or thumbnail" if _is_thumbnail(stream) else ""
    return f"{stream.index} ({context.name}{kind}, {context.width}x{context.height})"


def open_binary(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file, or a member of an archive, for reading."""
    return path.open() if isinstance(path, TarMember) else open(path, "rb")


def check_is_file(path: str) -> None:
    """Raises a DecodeError unless a path is that of a file, or of a member of an archive, with content."""
    try:
        if isinstance(path, TarMember):
            path.check()
            return
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise DecodeError(path, reason_of(error), open_error_text(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(path, "not a file")
    if status.st_size == 0:
        raise DecodeError(path, "empty")


def reason_of(error: Exception) -> str:
    """Returns the class of an error, by which reports count."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, PermissionError):
        return "not permitted"
    if isinstance(error, MemoryError):  # mostly a header that claims more data than the file has
        return "memory"
    if isinstance(error, av.InvalidDataError | av.ArgumentError | av.EOFError | ValueError):
        return "not a video"
    return "unreadable"
