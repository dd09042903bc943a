"""The kinds of pictures in the packets of MPEG-1, 2 and 4 video, which tell the display order.

No library offers them: PyAV does not expose FFmpeg's parsers, and FFmpeg's guess of display times from these
kinds is wrong for packed streams (DivX, XviD).
"""

from __future__ import annotations

# A picture of MPEG-4 with at most this many bytes may say "not coded: repeat the picture before".
_NOT_CODED_BYTES = 19

UNKNOWN, INTRA, PREDICTED, BIDIRECTIONAL = range(4)


class PictureKinds:
    """Reads the kind of picture from the packets of MPEG-1, 2 and 4 video, in stream order.

    Sources: ISO/IEC 11172-2 and 13818-2, 6.2.3 (picture header); ISO/IEC 14496-2, 6.2.5 (video object plane).
    """

    CODECS = frozenset({"mpeg1video", "mpeg2video", "mpeg4"})

    def __init__(self, codec: str) -> None:
        self._is_mpeg4 = codec == "mpeg4"
        self.is_packed = False  # True after a packet with two pictures
        self._held = UNKNOWN  # kind of a picture that the decoder holds back until the next packet

    def next(self, data: bytes) -> int:
        """Returns the kind of picture that the next packet shows."""
        if not self._is_mpeg4:
            at = data.find(b"\0\0\1\0")
            coded = (data[at + 5] >> 3) & 7 if 0 <= at < len(data) - 5 else 0
            return (UNKNOWN, INTRA, PREDICTED, BIDIRECTIONAL)[coded] if coded < 4 else UNKNOWN
        starts = [at for at in _find_all(data, b"\0\0\1\xb6") if at + 4 < len(data)]
        kinds = [(INTRA, PREDICTED, BIDIRECTIONAL, PREDICTED)[data[at + 4] >> 6] for at in starts]
        held, self._held = self._held, UNKNOWN
        if held != UNKNOWN:
            # DivX packs a bidirectional picture behind its anchor. The decoder shows it at the next packet,
            # whose own picture it then holds; an empty picture ends that.
            is_empty = len(data) <= _NOT_CODED_BYTES
            self._held = kinds[0] if kinds and kinds[0] != PREDICTED and not is_empty else UNKNOWN
            return held if len(kinds) == 1 else UNKNOWN
        if len(kinds) == 2 and kinds[1] != PREDICTED:
            self._held = kinds[1]
            self.is_packed = True
            return kinds[0]
        return kinds[0] if len(kinds) == 1 and len(data) > _NOT_CODED_BYTES else UNKNOWN


def _find_all(data: bytes, pattern: bytes) -> list[int]:
    """Returns the offsets of a pattern."""
    found, at = [], data.find(pattern)
    while at >= 0:
        found.append(at)
        at = data.find(pattern, at + len(pattern))
    return found
