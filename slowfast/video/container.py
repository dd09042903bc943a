"""Opening of a media file with FFmpeg, without following what the file points at."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import av

Source = str | os.PathLike[str] | BinaryIO

# Formats that only name where images are to be found: other files, patterns of file names, the network.
# A file of such a format may be named like a video and make FFmpeg read any file of this computer.
_POINTING_ELSEWHERE = frozenset(
    {
        *("concat", "concatf", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "tee"),
        *("vobsub", "webm_dash_manifest"),
    }
)
_FORMATS = ",".join(sorted(av.formats_available - _POINTING_ELSEWHERE))


def open_container(source: Source) -> Any:
    """Opens a media file for reading.

    Args:
        source: a path, which is never read as a network address or a pattern of file names; or a seekable
            binary file.

    Raises:
        av.FFmpegError, OSError, ValueError: if the source is not a media file, or points at other files.
    """
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    if isinstance(source, str | os.PathLike):
        source = f"file:{os.fspath(source)}"
    return av.open(source, options=options, metadata_errors="replace")
