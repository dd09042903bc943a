"""The facts of a stream's packets that tell its frames, and the joining of clocks that restart.

P packets in stream order.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace

import numpy as np

from slowfast.video.frame_table.frame_kinds import INTRA

# Marks a packet without a timestamp; the same number as in FFmpeg.
NO_PTS = int(np.iinfo(np.int64).min)
KEY, SHOWN, KIND = 1, 2, 4
"""Flags of a packet; the kind of its frame is multiplied by ``KIND``."""
CLOCK_OVERRUN_SECONDS = 2**33 / 90000 / 2
"""Seconds of a step forward that is a restart of the clock: half of the range of 33 bits at 90 kHz.

FFmpeg reads such a clock that restarts at a lower value as one that ran over, and adds the whole range.
"""


@dataclass(frozen=True)
class PacketFacts:
    """The facts of the P packets of a stream.

    Attributes:
        pts, dts: (P,) int64, times of display and of decoding in the stream's ticks; NO_PTS: not known.
        durations: (P,) int64 ticks; 0: not known.
        bytes_at: (P,) int64, offset in the file; -1: not known.
        sizes: (P,) int64, bytes.
        is_key: (P,) bool, True if decoding can start at the packet.
        is_shown: (P,) bool, False if the packet's frame is not to be shown.
        kinds: (P,) int64, kind of the frame that is shown for the packet, see :mod:`.frame_kinds`.
    """

    pts: np.ndarray
    dts: np.ndarray
    durations: np.ndarray
    bytes_at: np.ndarray
    sizes: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray
    kinds: np.ndarray

    @classmethod
    def of_rows(cls, rows: array[int]) -> PacketFacts:
        """Returns the facts from six numbers of 64 bits per packet.

        They are pts, dts, duration, offset in the file, size and flags.
        """
        table = np.frombuffer(rows, np.int64).reshape(-1, 6)
        pts, dts, durations, bytes_at, sizes, flags = np.ascontiguousarray(table.T)
        kinds = flags // KIND
        # AVI marks some frames as key frames that are not.
        is_key = (flags & KEY).astype(bool) & (kinds <= INTRA)
        return cls(pts, dts, durations, bytes_at, sizes, is_key, (flags & SHOWN).astype(bool), kinds)


def clock_parts(facts: PacketFacts, tick: float, least_fall: float = 0.0) -> np.ndarray:
    """Returns (P,) int64: the number of clock restarts before each packet.

    Decoding times never fall in a stream of one clock.

    Args:
        tick: unit of the timestamps in seconds.
        least_fall: seconds by which decoding times must fall at least.
    """
    parts = np.zeros(len(facts.dts), np.int64)
    most = int(CLOCK_OVERRUN_SECONDS / tick)
    steps = np.diff(facts.dts)
    if not len(steps) or (steps.min() >= 0 and steps.max() <= most):
        return parts
    known = np.flatnonzero(facts.dts != NO_PTS)
    steps = np.diff(facts.dts[known])
    parts[known[1:][(steps * tick < -least_fall) | (steps > most)]] = 1
    return np.cumsum(parts)


def join_clocks(facts: PacketFacts, parts: np.ndarray, step: int) -> PacketFacts:
    """Returns the facts with one running clock: each part follows the part before it.

    Args:
        parts: (P,) int64, see :func:`clock_parts`.
        step: ticks from the start of a part's last frame to the start of the next part, where the duration
            of that frame is not known.
    """
    if not len(parts) or parts[-1] == 0:
        return facts
    pts, dts = facts.pts.copy(), facts.dts.copy()
    end: int | None = None
    for part in range(int(parts[-1]) + 1):
        inside = parts == part
        times = np.where(pts != NO_PTS, pts, dts)
        known = np.flatnonzero(inside & (times != NO_PTS))
        if not len(known):
            continue
        if end is not None:
            shift = end - int(times[known].min())
            pts[inside & (pts != NO_PTS)] += shift
            dts[inside & (dts != NO_PTS)] += shift
            times = np.where(pts != NO_PTS, pts, dts)
        last = known[np.argmax(times[known])]
        end = int(times[last]) + (int(facts.durations[last]) or step)
    return replace(facts, pts=pts, dts=dts)
