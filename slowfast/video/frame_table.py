"""A table of a stream's frames, made from its packets: display times, and where decoding must start.

Neither PyAV nor torchcodec offers such a table without decoding: PyAV has no frame index, and torchcodec's
exact mode trusts timestamps. This one also says where timestamps cannot be right.

N displayed frames, P packets.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slowfast.video.frame_times import FrameTimes

# Marks a packet without a timestamp; the same number as in FFmpeg.
NO_PTS = int(np.iinfo(np.int64).min)


class PacketLog:
    """The facts that a scan keeps of each packet of a stream, 18 bytes each; times in the stream's ticks."""

    def __init__(self) -> None:
        self._pts, self._durations = array("q"), array("q")
        self._is_key, self._is_shown = bytearray(), bytearray()

    def add(self, pts: int | None, duration: int | None, is_key: bool, is_shown: bool) -> None:
        """Appends the facts of the next packet in stream order."""
        self._pts.append(NO_PTS if pts is None else pts)
        self._durations.append(duration or 0)
        self._is_key.append(is_key)
        self._is_shown.append(is_shown)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Returns pts and durations, (P,) int64 each, is_key and is_shown, (P,) bool each."""
        pts, durations = (np.frombuffer(column, np.int64) for column in (self._pts, self._durations))
        is_key, is_shown = (np.frombuffer(column, bool) for column in (self._is_key, self._is_shown))
        return pts, durations, is_key, is_shown


@dataclass(frozen=True)
class FrameTable:
    """The displayed frames of a stream, in the order they are shown.

    Attributes:
        times: display times of the frames.
        pts: (N,) int64 timestamps; None where they cannot be trusted and frames must be counted.
        packet: (N,) int64, number of each frame's packet in stream order.
        key_packet: (N,) int64, number of the packet that decoding must start from to show the frame.
        packet_pts: (P,) int64, timestamps of all packets in stream order.
        damaged: True if the scan met errors. Concealed frames then depend on every packet before them.
    """

    times: FrameTimes
    pts: np.ndarray | None
    packet: np.ndarray
    key_packet: np.ndarray
    packet_pts: np.ndarray
    damaged: bool

    def runs(self, frames: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yields runs of packets (first, last) that together show the given frames, in stream order."""
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
    """Builds the table from the packets of a stream. Returns None if no packet shows a frame.

    Args:
        tick: unit of the timestamps in seconds.
        rate: frames per second from the container's header, for streams without usable timestamps.
        reorders: True if the decoder reorders frames, as far as the headers tell.
        damaged: True if the scan met errors.
    """
    packet_pts, durations, is_key, is_shown = log.arrays()
    shown = np.flatnonzero(is_shown)
    if len(shown) == 0:
        return None
    if not _are_plausible(packet_pts[shown], reorders):
        times = FrameTimes(np.arange(len(shown)) / rate, len(shown) / rate)
        nothing = np.zeros(0, np.int64)
        return FrameTable(times, None, shown, nothing, nothing, damaged)

    # The order of display, and seconds from the first frame.
    shown = shown[np.argsort(packet_pts[shown], kind="stable")]
    pts = packet_pts[shown]
    seconds = (pts - pts[0]) * tick
    # The last frame lasts as long as its packet says, else as long as the others in the median.
    last = float(durations[shown[-1]]) * tick
    if last <= 0:
        last = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1 / rate
    times = FrameTimes(seconds, float(seconds[-1]) + last)
    return FrameTable(times, pts, shown, key_packets(packet_pts, is_key, shown), packet_pts, damaged)


def _are_plausible(pts: np.ndarray, reorders: bool) -> bool:
    """Returns False if timestamps are missing or repeated, or in decoding order of reordered frames."""
    if (pts == NO_PTS).any() or len(np.unique(pts)) < len(pts):
        return False
    ascending = bool((np.diff(pts) > 0).all())
    return not (reorders and ascending and len(pts) > 1)


def key_packets(packet_pts: np.ndarray, is_key: np.ndarray, packet: np.ndarray) -> np.ndarray:
    """Returns the packet that decoding must start from, for each frame of the given packets (N,).

    That is the last key packet that is both stored and shown before the frame: frames that are stored after
    a key frame but shown before it (open groups of pictures) refer to the group before.
    """
    keys = np.flatnonzero(is_key)
    if len(keys) == 0:
        return np.zeros_like(packet)
    group = np.searchsorted(keys, packet, side="right") - 1
    # One group back as long as the frame is shown before the key frame of its group.
    while True:
        leading = (group >= 0) & (packet_pts[keys[group]] > packet_pts[packet])
        if not leading.any():
            return np.where(group >= 0, keys[group], 0)
        group = group - leading
