"""Opening a media file with FFmpeg: that file, and nothing that it points at."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import av

Source = str | os.PathLike[str] | BinaryIO

# Formats that only say where pictures are to be found: other files, patterns of file names, the network.
# A file of such a kind may call itself a video and name whatever this process can read.
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
        source: a path, which is never taken for a network address or a pattern of names; or a seekable
            binary file.

    Raises:
        av.FFmpegError, OSError, ValueError: for what is no media file, or points at others.
    """
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    if isinstance(source, str | os.PathLike):
        source = f"file:{os.fspath(source)}"
    return av.open(source, options=options, metadata_errors="replace")
