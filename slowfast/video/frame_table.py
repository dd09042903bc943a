"""The frames of a stream as its packets tell them: when each is shown, where decoding must start for it.

N displayed frames, P packets.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slowfast.video.frame_times import FrameTimes

# Stands for a packet without a timestamp; FFmpeg's own mark.
NO_PTS = int(np.iinfo(np.int64).min)


class PacketLog:
    """What a scan keeps of the packets of a stream, 18 bytes each; times are in the stream's ticks."""

    def __init__(self) -> None:
        self._pts, self._durations = array("q"), array("q")
        self._is_key, self._is_shown = bytearray(), bytearray()

    def add(self, pts: int | None, duration: int | None, is_key: bool, is_shown: bool) -> None:
        self._pts.append(NO_PTS if pts is None else pts)
        self._durations.append(duration or 0)
        self._is_key.append(is_key)
        self._is_shown.append(is_shown)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """pts and durations (P,) int64, is_key and is_shown (P,) bool."""
        pts, durations = (np.frombuffer(column, np.int64) for column in (self._pts, self._durations))
        is_key, is_shown = (np.frombuffer(column, bool) for column in (self._is_key, self._is_shown))
        return pts, durations, is_key, is_shown


@dataclass(frozen=True)
class FrameTable:
    """The displayed frames of a stream, in the order they are shown.

    Attributes:
        times: when.
        pts: (N,) int64 timestamps; None where they cannot be trusted and frames must be counted.
        packet: (N,) int64, place of each frame's packet in the stream.
        key_packet: (N,) int64, place of the packet that decoding must start from to show the frame.
        packet_pts: (P,) int64, timestamps of all packets in stream order.
        damaged: whether the scan met errors; what concealment shows then depends on every packet before.
    """

    times: FrameTimes
    pts: np.ndarray | None
    packet: np.ndarray
    key_packet: np.ndarray
    packet_pts: np.ndarray
    damaged: bool

    def runs(self, frames: np.ndarray) -> Iterator[tuple[int, int]]:
        """Stretches of packets (first, last) that together show the given frames, in stream order."""
        wanted = frames[np.argsort(self.packet[frames])]
        first, last = -1, -1
        for key, packet in zip(self.key_packet[wanted].tolist(), self.packet[wanted].tolist(), strict=True):
            if last >= 0 and key > last:
                yield first, last
                first = -1
            first = key if first < 0 else min(first, key)
            last = packet
        yield first, last


def build_table(
    log: PacketLog, *, tick: float, rate: float, reorders: bool, damaged: bool
) -> FrameTable | None:
    """Builds the table from the packets of a stream; None where they show nothing.

    Args:
        tick: seconds.
        rate: frames per second as the container has it, for streams without usable timestamps.
        reorders: whether the decoder says that it may reorder frames, and nothing tells that it just may.
    """
    packet_pts, durations, is_key, is_shown = log.arrays()
    shown = np.flatnonzero(is_shown)
    if len(shown) == 0:
        return None
    if not _are_right(packet_pts[shown], reorders):
        times = FrameTimes(np.arange(len(shown)) / rate, len(shown) / rate)
        nothing = np.zeros(0, np.int64)
        return FrameTable(times, None, shown, nothing, nothing, damaged)

    shown = shown[np.argsort(packet_pts[shown], kind="stable")]
    pts = packet_pts[shown]
    seconds = (pts - pts[0]) * tick
    last = float(durations[shown[-1]]) * tick
    if last <= 0:
        last = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1 / rate
    times = FrameTimes(seconds, float(seconds[-1]) + last)
    return FrameTable(times, pts, shown, key_packets(packet_pts, is_key, shown), packet_pts, damaged)


def _are_right(pts: np.ndarray, reorders: bool) -> bool:
    """False for timestamps missing, given twice, or in decoding order where frames are reordered."""
    if (pts == NO_PTS).any() or len(np.unique(pts)) < len(pts):
        return False
    ascending = bool((np.diff(pts) > 0).all())
    return not (reorders and ascending and len(pts) > 1)


def key_packets(packet_pts: np.ndarray, is_key: np.ndarray, packet: np.ndarray) -> np.ndarray:
    """For the frames of the given packets, the packet that decoding must start from.

    That is the last key packet before it that is also shown before it: frames that come after a key
    frame but are shown earlier (open groups of pictures) refer to the group before.
    """
    keys = np.flatnonzero(is_key)
    if len(keys) == 0:
        return np.zeros_like(packet)
    group = np.searchsorted(keys, packet, side="right") - 1
    while True:
        leading = (group >= 0) & (packet_pts[keys[group]] > packet_pts[packet])
        if not leading.any():
            return np.where(group >= 0, keys[group], 0)
        group = group - leading
