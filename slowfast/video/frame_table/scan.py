"""Making of the frame table of an open stream, from its packets and, where they do not suffice, by decoding.

N displayed frames, P packets in stream order.
"""

from __future__ import annotations

import itertools
import logging
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slowfast.errors import DecodeError
from slowfast.log import get_logger, log_once
from slowfast.video.frame_table.display_order import (
    Clock,
    Trust,
    order_by_kinds,
    order_by_times,
    trust_in_times,
)
from slowfast.video.frame_table.frame_kinds import BIDIRECTIONAL, UNKNOWN, FrameKinds
from slowfast.video.frame_table.packet_facts import (
    KEY,
    KIND,
    NO_PTS,
    SHOWN,
    PacketFacts,
    clock_parts,
    join_clocks,
)
from slowfast.video.frame_table.table import FrameTable, frame_times, key_packets
from slowfast.video.frame_times import even_times

if TYPE_CHECKING:
    from slowfast.video.packets import PacketSource

_logger = get_logger(__name__)

# The scan keeps the packets of a file with at most this many bytes of them, so that it is read once.
_KEEP_BYTES = 8 << 20
# Containers that store a decoding time beside the display time.
_WITH_DECODING_TIMES = frozenset({"mov", "mpegts", "flv"})
# Containers whose decoding times are stored, and do not come from display times.
_WITH_CLOCK = _WITH_DECODING_TIMES | {"mpeg", "avi"}
# Containers without display times; FFmpeg guesses them.
_WITHOUT_TIMES = frozenset(
    {"avi", "m4v", "mpegvideo", "h264", "hevc", "vvc", "vc1", "cavsvideo", "avs2", "avs3"}
)
# Packets that are decoded to see whether frames are reordered: reordered streams show it within a second.
_PROOF_PACKETS = 60
# Decoding times that FFmpeg makes from display times may fall by a few frames, in seconds.
_DERIVED_FALL = 1.0
# Kind of a slice at which every H.264 decoder can start (ITU-T H.264, table 7-1).
_IDR_SLICE = 5


def make_table(source: PacketSource, *, by_decoding: bool = False) -> FrameTable:
    """Makes the frame table of a stream.

    Args:
        by_decoding: learn the display order from the decoder, whatever the timestamps say.

    Raises:
        DecodeError: if the stream has no frames.
    """
    return _TableMaker.scan(source).table(by_decoding)


@dataclass(frozen=True)
class _TableMaker:
    """The packets of a stream, and the decisions on its frame table.

    Attributes:
        facts: the packets as stored.
        parts: (P,) int64, see :func:`~.packet_facts.clock_parts`.
        joined: the packets with one running clock.
        damaged: True if the scan met errors.
        packed: True if packets hold frames of other packets.
    """

    source: PacketSource
    facts: PacketFacts
    parts: np.ndarray
    joined: PacketFacts
    damaged: bool
    packed: bool

    @classmethod
    def scan(cls, source: PacketSource) -> _TableMaker:
        """Reads all packets; small files leave theirs with the source."""
        rows, damaged, kept_bytes = array("q"), False, 0
        kept: list[Any] | None = []
        codec = source.stream.codec_context.name
        # Alternate reference frames of VP8 are separate packets that show nothing.
        has_hidden = codec == "vp8"
        reorders = source.stream.codec_context.reorder_depth > 0
        kinds = FrameKinds(codec) if reorders and codec in FrameKinds.CODECS else None
        for number, packet in enumerate(source.stored_packets()):
            pts = NO_PTS if (time := packet.pts) is None else time
            dts = NO_PTS if (time := packet.dts) is None else time
            size, flags = packet.size, KEY if packet.is_keyframe else 0
            if not (packet.is_discard or (has_hidden and not bytes(memoryview(packet)[:1])[0] & 0x10)):
                flags |= SHOWN
            if kinds is not None:
                kind = kinds.next(bytes(packet))
                if kind == UNKNOWN and codec != "mpeg4":
                    # A damaged packet without the start of a frame.
                    kind, flags = BIDIRECTIONAL, 0
                flags |= kind * KIND
            rows.extend((pts, dts, packet.duration or 0, packet.pos or -1, size, flags))
            damaged |= packet.is_corrupt
            # Packets are kept with their number; see PacketSource.
            if kept is not None:
                kept_bytes += size
                packet.pts = number
                kept.append(packet)
                if kept_bytes > _KEEP_BYTES:
                    kept = None
        source.keep(kept)
        facts = PacketFacts.of_rows(rows)
        if not facts.is_shown.any():
            raise DecodeError(source.name, "no frames")
        tick = float(source.stream.time_base)
        parts = clock_parts(facts, tick, 0.0 if source.formats & _WITH_CLOCK else _DERIVED_FALL)
        joined = join_clocks(facts, parts, step=max(round(1 / (float(source.rate) * tick)), 1))
        damaged |= source.demux_failed
        return cls(source, facts, parts, joined, damaged, kinds is not None and kinds.is_packed)

    def table(self, by_decoding: bool) -> FrameTable:
        order = None if by_decoding else self._order_by_packets()
        if order is None:
            return self._decoded_table()
        head = self._undecodable_head(order)
        return self._decoded_table() if head is None else self._build(order[head:], head)

    # -------------------------------------------------------------------------------- by packets

    @property
    def _first_key(self) -> int:
        """Number of the first key packet; 0 where no packet is marked as one."""
        return int(np.argmax(self.facts.is_key))

    def _order_by_packets(self) -> np.ndarray | None:
        """Returns the packets of the shown frames in display order, (N,); None if only the decoder knows."""
        facts, formats = self.facts, self.source.formats
        reorders = self.source.stream.codec_context.reorder_depth > 0
        clock = Clock.DISPLAY_AND_DECODING if formats & _WITH_DECODING_TIMES else Clock.DISPLAY
        clock = Clock.NONE if formats & _WITHOUT_TIMES else clock
        by_times = order_by_times(facts, self.parts)
        trust = trust_in_times(facts, self.parts, by_times, clock, reorders=reorders)
        order: np.ndarray | None = by_times
        if trust is Trust.WRONG:
            order = order_by_kinds(facts.kinds) if reorders else None
        elif trust is Trust.UNPROVEN and not self._is_decoded_in_stream_order():
            order = None
        return None if order is None else order[facts.is_shown[order]]

    def _is_decoded_in_stream_order(self) -> bool:
        """Decodes the first packets; returns False if frames come in another order than the packets."""
        last = -1
        for frame in self.source.decoded(itertools.islice(self.source.from_start(), _PROOF_PACKETS)):
            if frame.pts is None or frame.pts < last:
                return False
            last = frame.pts
        return True

    def _undecodable_head(self, order: np.ndarray) -> int | None:
        """Returns how many of the first frames refer to frames before the first packet; None: not clear.

        Args:
            order: (N,) int64, the packets of the frames in display order.
        """
        is_first_shown_first = not self.facts.is_shown[0] or order[0] == 0
        if self.facts.is_key[0] and is_first_shown_first and self._begins_with_idr():
            return 0
        # The first key frame, or the first frame behind it where the decoder does not show that one.
        place = np.full(len(self.facts.pts), -1, np.int64)
        place[order] = np.arange(len(order))
        key, first = self._first_key, -1
        for frame in self.source.decoded(self.source.from_start()):
            if frame.pts is None or frame.pts < key or place[frame.pts] < 0:
                continue
            first = int(place[frame.pts]) if first < 0 or frame.pts == key else first
            if place[frame.pts] >= place[key]:
                break
        return None if first < 0 else first

    def _begins_with_idr(self) -> bool:
        """Returns False for an H.264 stream that begins with a frame at which not every decoder can start.

        Some key frames need the frames before them for a while, as where blocks are refreshed in turn.
        """
        context = self.source.stream.codec_context
        packet = next(self.source.from_start(), None)
        if context.name != "h264" or packet is None:
            return True
        data, settings = bytes(packet), bytes(context.extradata or b"")
        if not settings.startswith(b"\1"):  # start codes separate the units
            return any(
                unit[0] & 31 == _IDR_SLICE for unit in re.findall(rb"\x00\x00\x01(.)", data, re.DOTALL)
            )
        # Each unit follows its length; the settings say how many bytes that has (ISO/IEC 14496-15, 5.3.3).
        length_bytes, at = (settings[4] & 3) + 1 if len(settings) > 4 else 4, 0
        while at + length_bytes < len(data):
            if data[at + length_bytes] & 31 == _IDR_SLICE:
                return True
            at += length_bytes + int.from_bytes(data[at : at + length_bytes], "big")
        return False

    # -------------------------------------------------------------------------------- by decoding

    def _decoded_table(self) -> FrameTable:
        """Makes the table of a stream whose display order only the decoder knows."""
        outputs = [frame.pts for frame in self.source.decoded(self.source.from_start())]
        # Before the first key frame, some decoders show frames made from references that they lack.
        first_key = self._first_key
        if first_key in outputs:
            outputs = outputs[outputs.index(first_key) :]
        numbers = [number for number in outputs if number is None or number >= first_key]
        if not numbers:
            raise DecodeError(self.source.name, "no frames", "none of its packets can be decoded")
        if None in numbers or len(set(numbers)) < len(numbers):
            times = even_times(len(outputs), float(self.source.rate))
            return FrameTable(times, None, None, np.zeros(0, np.int64), self.facts, self.damaged)
        order = np.array(numbers, np.int64)
        head = int(self.facts.is_shown[: order.min()].sum())
        return self._build(order, head)

    def _build(self, order: np.ndarray, head: int) -> FrameTable:
        """Builds the table of a stream whose display order (N,) is known.

        Args:
            order: (N,) int64, the packets of the frames in display order.
            head: number of undecodable frames before them.
        """
        if head:
            text = (
                f"{self.source.name}: begins between key frames; {head} frames at its start refer to frames "
                "that are not in the file and are left out, so that frame 0 is the first decodable one"
            )
            log_once(_logger, text, logging.WARNING)
        stream, rate = self.source.stream, float(self.source.rate)
        times, are_display_times = frame_times(
            self.joined,
            order,
            tick=float(stream.time_base),
            rate=rate,
            held=stream.codec_context.reorder_depth,
        )
        return FrameTable(
            times=times,
            pts=self.facts.pts[order] if are_display_times and self.joined is self.facts else None,
            packet=order,
            key_packet=key_packets(self.facts.is_key, order),
            packets=self.facts,
            damaged=self.damaged,
            packed=self.packed,
            undecodable_head=head,
        )
