"""The table of a stream's frames: display times, and where decoding must start for each frame.

Neither PyAV nor torchcodec offers such a table without decoding: PyAV has no frame index, and torchcodec's
exact mode trusts timestamps.

N displayed frames, P packets in stream order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from slowfast.video.frame_table.packet_facts import NO_PTS, PacketFacts
from slowfast.video.frame_times import FrameTimes, even_times


@dataclass(frozen=True)
class FrameTable:
    """The displayed frames of a stream, in display order.

    Attributes:
        times: display times of the frames.
        pts: (N,) int64 timestamps; None where the container's display times are not those of the frames.
        packet: (N,) int64, number of each frame's packet in stream order; None where the decoder does not
            tell which packet a frame is from, and frames must be counted.
        key_packet: (N,) int64, number of the packet that decoding must start from to show the frame.
        packets: facts of all packets, to recognise them after seeking.
        damaged: True if the scan met errors. Concealed frames then depend on every packet before them.
        packed: True if packets hold frames of other packets, so that no packet may be skipped.
        undecodable_head: number of frames before the first one that refer to frames missing in the file.
        lost: indices of frames that damage in the file makes undecodable, as far as reading has met it.
    """

    times: FrameTimes
    pts: np.ndarray | None
    packet: np.ndarray | None
    key_packet: np.ndarray
    packets: PacketFacts
    damaged: bool
    packed: bool = False
    undecodable_head: int = 0
    lost: frozenset[int] = frozenset()

    def runs(self, frames: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yields runs of packets (first, last) that together show the given frames, in stream order."""
        assert self.packet is not None
        wanted = frames[np.argsort(self.packet[frames])]
        first, last = -1, -1
        for key, packet in zip(self.key_packet[wanted].tolist(), self.packet[wanted].tolist(), strict=True):
            if last >= 0 and key > last:
                yield first, last
                first = -1
            first = key if first < 0 else min(first, key)
            last = packet
        yield first, last

    def split(self, frames: np.ndarray, parts: int) -> list[np.ndarray]:
        """Splits the given frames into at most ``parts`` that can be decoded apart from each other.

        Returns:
            Ascending indices without repeats, each group of pictures in one part; the given frames themselves
            where only one part is possible.
        """
        if parts == 1 or not len(frames) or self.packet is None:
            return [frames]
        wanted = np.unique(frames)
        starts = np.flatnonzero(np.diff(self.key_packet[wanted], prepend=-1))  # the first frame of each group
        groups = np.array_split(starts, min(parts, len(starts)))
        return np.split(wanted, [group[0] for group in groups[1:]])

    @cached_property
    def _frame_of_packet(self) -> np.ndarray:
        """(P,) int64, the index of each packet's frame; -1: none."""
        frames = np.full(len(self.packets.pts), -1, np.int64)
        if self.packet is not None:
            frames[self.packet] = np.arange(len(self.packet))
        return frames

    def frame_of(self, packet: int | None) -> int:
        """Returns the index of the frame of a packet; -1 if it has none."""
        return -1 if packet is None else int(self._frame_of_packet[packet])

    def begins_with(self, packets: np.ndarray) -> bool:
        """Returns whether the first frames are those of the given packets."""
        return self.packet is not None and np.array_equal(self.packet[: len(packets)], packets)

    def with_lost(self, packets: np.ndarray) -> FrameTable | None:
        """Returns this table with the lost frames of a damaged stream.

        A frame is lost if it is missing in the decoder's output, or if it may refer to a missing one: a frame
        whose packet is one from the key packet on that decoding starts from.

        Args:
            packets: (n,) int64, the packets of the frames that the decoder outputs, in that order.

        Returns:
            None if no frame is missing, or if the other frames come in another order than that of the table.
        """
        assert self.packet is not None
        missing = np.setdiff1d(self.packet, packets)
        # Compare how many packets are missing before a frame's key packet, and up to its own packet.
        before_key = np.searchsorted(missing, self.key_packet)
        is_lost = np.searchsorted(missing, self.packet, "right") > before_key
        # The other frames must come in the order of the table.
        shown = self._frame_of_packet[packets]
        shown = shown[shown >= 0]
        shown = shown[~is_lost[shown]]
        if not is_lost.any() or (np.diff(shown) < 0).any():
            return None
        return replace(self, lost=frozenset(np.flatnonzero(is_lost).tolist()))

    def with_lost_of(self, other: FrameTable) -> FrameTable:
        """Returns this table with the frames lost that another table of the same file and order has lost."""
        if other.packet is None or other.lost <= self.lost or not self.begins_with(other.packet):
            return self
        return replace(self, lost=self.lost | other.lost)

    def number_of(self, pts: int | None, byte: int | None, size: int) -> int | None:
        """Returns the number of the packet with these facts; None if several packets or none have them."""
        packets = self.packets
        matches = (packets.pts == (NO_PTS if pts is None else pts)) & (packets.sizes == size)
        if byte is not None and byte >= 0:
            matches &= packets.bytes_at == byte
        found = np.flatnonzero(matches)
        return int(found[0]) if len(found) == 1 else None


def frame_times(
    facts: PacketFacts, order: np.ndarray, *, tick: float, rate: float, held: int = 0
) -> tuple[FrameTimes, bool]:
    """Returns the times of frames in display order, and whether they are the container's display times.

    Where display times are missing or do not ascend, frames are shown at the decoding times: one frame per
    packet, later by the number of frames that the decoder holds back. Where decoding times are missing as
    well, frames are shown at an even rate.

    Args:
        facts: the packets with one running clock.
        order: (N,) int64, the packets of the displayed frames in display order.
        tick: unit of the timestamps in seconds.
        rate: frames per second from the container's header.
        held: number of frames that the decoder may hold back, as the encoder did.
    """
    count = len(order)
    moments = facts.pts[order]
    are_display_times = _ascend(moments)
    if not are_display_times:
        moments = np.sort(facts.dts[order])
        if not _ascend(moments):
            return even_times(count, rate), False
        # The decoder holds back as many frames as a packet is behind the place of its frame, at least.
        held = max(held, int((np.argsort(np.argsort(order)) - np.arange(count)).max()))
        step = float(np.median(np.diff(moments))) if count > 1 else 1 / (rate * tick)
        late = moments[-1] + step * np.arange(1, held + 1)
        moments = np.concatenate([moments, late])[held:]
    seconds = (moments - moments[0]) * tick
    # The last frame lasts as long as its packet says, else as long as the others in the median.
    last = float(facts.durations[order[-1]]) * tick
    if last <= 0:
        last = float(np.median(np.diff(seconds))) if count > 1 else 1 / rate
    return FrameTimes(seconds, float(seconds[-1]) + last), are_display_times


def _ascend(moments: np.ndarray) -> bool:
    return not (moments == NO_PTS).any() and bool((np.diff(moments) > 0).all())


def key_packets(is_key: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns (N,) int64, the packet that decoding must start from for each frame.

    That is the last key packet that is both stored and shown before the frame: frames that are stored after
    a key frame but shown before it (open groups of pictures) refer to the group before.

    Args:
        is_key: (P,) bool.
        order: (N,) int64, the packets of the displayed frames in display order.
    """
    # Decoding can start at the key packets that are shown; ``place`` is their position in the display order.
    place = np.full(len(is_key), -1, np.int64)
    place[order] = np.arange(len(order))
    keys = np.flatnonzero(is_key & (place >= 0))
    if len(keys) == 0:
        return np.zeros_like(order)
    group = np.searchsorted(keys, order, side="right") - 1
    # One group back as long as the frame is shown before the key frame of its group.
    while True:
        leading = (group >= 0) & (place[keys[group]] > place[order])
        if not leading.any():
            return np.where(group >= 0, keys[group], 0)
        group = group - leading
