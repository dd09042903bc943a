"""Packets of a video stream by their numbers: the frame table, seeking, decoding in display order.

PyAV seeks to timestamps only and does not say where it arrives, so that exact frames need this layer: it
checks each seek against the frame table and reads from the start where a container cannot seek.

Packets are handed to the decoder with their number in place of their timestamp. The decoder copies it to the
frame, which so tells its packet, whatever the container's timestamps are.

N frames of the video, P packets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from slowfast.video.coded_stream import CodedStream
from slowfast.video.container import Source
from slowfast.video.frame_table.scan import make_table
from slowfast.video.frame_table.table import FrameTable
from slowfast.video.orientation import UPRIGHT, orientation_of

# Decoders that obey `skip_frame` packet by packet. (Others read it only when they are opened.)
_SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"})


class PacketSource(CodedStream):
    """A video stream whose packets are numbered and known by a frame table.

    Args:
        source, threads: see :class:`CodedStream`.
        table: the frame table, if another source of the same file has made it; None scans the packets.

    Attributes:
        turn: counts how often packets were asked for from another position. A reader that finds another
            number than before must restart: the position and the decoder are those of another reader then.

    Raises:
        DecodeError: if the source is not a decodable video.
    """

    def __init__(self, source: Source, threads: int = 1, table: FrameTable | None = None) -> None:
        self._kept: list[Any] | None = None
        self.turn = 0
        if table is not None:
            self.table = table
        super().__init__(source, threads)

    def close(self) -> None:
        """Closes the file, after the packet that another thread reads; a second call has no effect."""
        super().close()
        self._kept = None

    @property
    def may_skip(self) -> bool:
        """Whether frames that no other frame refers to can be skipped.

        Not in damaged streams, where concealed frames depend on every packet before them, nor in packed ones.
        """
        may = not self.table.damaged and not self.table.packed
        return may and self.stream.codec_context.name in _SKIPPING_CODECS

    @cached_property
    def table(self) -> FrameTable:
        """The frame table, from a scan of all packets and, where they do not tell the order, by decoding."""
        return make_table(self)

    def correct_table(self, first: int, last: int) -> bool:
        """Corrects the table, whose order the decoder has refuted between two packets.

        The new table has the order of the decoder's output. Where frames are missing in that output while
        the others come in the order of the table, the file is damaged: the table keeps its order, and states
        which frames are lost.

        Returns:
            False if the decoder's output explains the order by neither; the table stays as it is then.
        """
        old = self.table
        assert old.packet is not None
        if old.lost:
            # The order of all other frames has been checked: the frames of these packets are lost as well.
            inside = np.flatnonzero((old.packet >= first) & (old.packet <= last))
            self.table = replace(old, lost=old.lost.union(inside.tolist()))
            return True
        new = make_table(self, by_decoding=True)
        if new.times.num_frames == old.times.num_frames:
            self.table = new
            return new.packet is None or not old.begins_with(new.packet)
        with_lost = None if new.packet is None else old.with_lost(new.packet)
        self.table = with_lost or old
        return with_lost is not None

    # -------------------------------------------------------------------------------- packets and frames

    def keep(self, packets: list[Any] | None) -> None:
        """Keeps all packets of the stream, numbered, so that the file is not read again."""
        self._kept = packets

    def from_start(self) -> Iterator[Any]:
        """Returns all packets, numbered, for a reset decoder."""
        self.turn += 1
        if kept := self._kept:  # read once: another thread may close the source, which drops the packets
            self.flush()
            return iter(kept)
        return _numbered(self.stored_packets(), 0)

    def from_packet(self, first: int) -> tuple[Iterator[Any], int]:
        """Seeks to a packet at or before number ``first``.

        Returns:
            The packets from there on, numbered, and the number of the first of them.
        """
        self.turn += 1
        self.flush()
        if kept := self._kept:
            return itertools.islice(kept, first, None), first
        # Ask the container for the packet's timestamp.
        packets = self.seek(int(self.table.packets.pts[first]))
        if packets is None:
            return self.from_start(), 0
        head = next(packets, None)
        # Containers may arrive elsewhere: find the number of the packet by what is known of it.
        landed = None if head is None else self.table.number_of(head.pts, head.pos, head.size)
        if landed is not None and landed <= first:
            sizes = self.table.packets.sizes[landed:]
            return _numbered(_while_of_sizes(itertools.chain([head], packets), sizes), landed), landed
        # An unknown packet, or one after the goal: read from the start.
        return self.from_start(), 0

    def decode_all(self) -> Iterator[Any]:
        """Yields every frame of the table, as far as it is decodable, in display order.

        The video may be read otherwise between two frames; decoding then restarts from the first packet.
        """
        count = 0
        while True:
            for frame in itertools.islice(self._decode_all(), count, None):
                turn, count = self.turn, count + 1
                yield frame
                if self.turn != turn:
                    break
            else:
                return

    def _decode_all(self) -> Iterator[Any]:
        packets = self.from_start()
        first = next(packets, None)
        if first is None:
            return
        # Where the stream begins between key frames, the table tells which frame is the first one.
        if not first.is_keyframe and self.table.packet is not None:
            shown = set(self.table.packet.tolist())
            frames = self.decoded(self.from_start())
            yield from (frame for frame in frames if frame.pts is None or frame.pts in shown)
            return
        yield from self.decoded(itertools.chain([first], packets))

    @cached_property
    def is_upright(self) -> bool:
        """False if frames are cropped, turned or mirrored before they are shown; decodes the first frame."""
        first = next(self.decode_all(), None)
        self.flush()
        return self._heif is None and first is not None and orientation_of(first) == UPRIGHT

    @cached_property
    def num_decodable(self) -> int:
        """Number of frames that the decoder outputs; counted by decoding the whole video."""
        return sum(1 for _ in self.decode_all())


def _while_of_sizes(packets: Iterable[Any], sizes: np.ndarray) -> Iterator[Any]:
    """Yields packets while they have the expected sizes; after seeking, some containers cut other packets."""
    for packet, size in zip(packets, map(int, sizes), strict=False):
        if packet.size != size:
            return
        yield packet


def _numbered(packets: Iterable[Any], first: int) -> Iterator[Any]:
    """Yields packets with their number, from ``first`` on, in place of their timestamp."""
    for number, packet in enumerate(packets, first):
        packet.pts = number
        yield packet
