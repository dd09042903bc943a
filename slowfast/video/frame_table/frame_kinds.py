"""The kinds of frames in the packets of MPEG-1, 2 and 4 video, which tell the display order.

No library offers them: PyAV does not expose FFmpeg's parsers, and FFmpeg's guess of display times from these
kinds is wrong for packed streams (DivX, XviD).
"""

from __future__ import annotations

# A frame of MPEG-4 with at most this many bytes may say "not coded: repeat the frame before".
_NOT_CODED_BYTES = 19

UNKNOWN, INTRA, PREDICTED, BIDIRECTIONAL = range(4)  # MPEG-1 and 2 number them so as well
_MPEG4_FRAME = b"\0\0\1\xb6"  # start code


class FrameKinds:
    """Reads the kind of frame from the packets of MPEG-1, 2 and 4 video, in stream order.

    Sources: ISO/IEC 11172-2 and 13818-2, 6.2.3 (picture header); ISO/IEC 14496-2, 6.2.5 (video object plane).
    """

    CODECS = frozenset({"mpeg1video", "mpeg2video", "mpeg4"})

    def __init__(self, codec: str) -> None:
        self._is_mpeg4 = codec == "mpeg4"
        self.is_packed = False  # True after a packet with two frames
        self._held = UNKNOWN  # kind of a frame that the decoder holds back until the next packet

    def next(self, data: bytes) -> int:
        """Returns the kind of frame that the next packet shows."""
        if self._is_mpeg4:
            return self._next_of_mpeg4(data)
        at = data.find(b"\0\0\1\0")
        coded = (data[at + 5] >> 3) & 7 if 0 <= at < len(data) - 5 else 0
        return coded if coded < 4 else UNKNOWN

    def _next_of_mpeg4(self, data: bytes) -> int:
        at = data.find(_MPEG4_FRAME)
        second = data.find(_MPEG4_FRAME, at + 4) if at >= 0 else -1
        kind, is_empty = _kind_at(data, at), len(data) <= _NOT_CODED_BYTES
        held, self._held = self._held, UNKNOWN
        if held != UNKNOWN:
            # DivX packs a bidirectional frame behind its anchor. The decoder shows it at the next packet,
            # whose own frame it then holds; an empty frame ends that.
            self._held = UNKNOWN if is_empty or kind == PREDICTED else kind
            return held if second < 0 else UNKNOWN
        if second < 0:
            return UNKNOWN if is_empty else kind
        self._held = _kind_at(data, second)
        self.is_packed = True
        if self._held == PREDICTED or data.find(_MPEG4_FRAME, second + 4) >= 0:
            return UNKNOWN
        return kind


def _kind_at(data: bytes, at: int) -> int:
    """Returns the kind of the MPEG-4 frame whose start code is at an offset."""
    is_inside = 0 <= at < len(data) - 4
    return (INTRA, PREDICTED, BIDIRECTIONAL, PREDICTED)[data[at + 4] >> 6] if is_inside else UNKNOWN
