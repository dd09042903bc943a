"""The order in which the frames of a stream are shown, from the facts of its packets.

Containers do not always know it. AVI and raw streams store no display times, FFmpeg then guesses them, and a
copy into mp4, mkv or ts keeps the guess as if it were a fact. The functions here find out where timestamps
can be right; where they cannot, the caller learns the order from the decoder.

P packets in stream order.
"""

from __future__ import annotations

import enum

import numpy as np

from slowfast.video.frame_table.frame_kinds import BIDIRECTIONAL, UNKNOWN
from slowfast.video.frame_table.packet_facts import NO_PTS, PacketFacts


class Clock(enum.Enum):
    """The kinds of timestamps that a container stores."""

    NONE = enum.auto()  # display times are guessed by FFmpeg
    DISPLAY = enum.auto()
    DISPLAY_AND_DECODING = enum.auto()


def order_by_times(facts: PacketFacts, parts: np.ndarray) -> np.ndarray:
    """Returns all packets (P,) in the order of their display times, one part of the clock after another."""
    return np.lexsort((facts.pts, parts)) if parts[-1] else np.argsort(facts.pts, kind="stable")


def order_by_kinds(kinds: np.ndarray) -> np.ndarray | None:
    """Returns all packets (P,) in display order by the rule of MPEG-1, 2 and 4; None if a kind is unknown.

    A bidirectional frame is shown at once; any other one when the next such frame is decoded.
    """
    if not len(kinds) or (kinds == UNKNOWN).any():
        return None
    anchors = np.flatnonzero(kinds != BIDIRECTIONAL)
    # An anchor is shown in front of the next anchor's place, the last one at the end.
    place = np.arange(len(kinds), dtype=np.float64)
    place[anchors] = np.append(anchors[1:], len(kinds)) - 0.5
    return np.argsort(place, kind="stable")


class Trust(enum.Enum):
    """Verdicts on the display times of a stream."""

    RIGHT = enum.auto()
    UNPROVEN = enum.auto()  # plausible only if the stream's frames are not reordered
    WRONG = enum.auto()


def trust_in_times(
    facts: PacketFacts, parts: np.ndarray, order: np.ndarray, clock: Clock, *, reorders: bool
) -> Trust:
    """Judges whether display times can be those of the stream.

    Args:
        parts: (P,) int64, see :func:`~.packet_facts.clock_parts`.
        order: (P,) int64, see :func:`order_by_times`.
        clock: kind of timestamps that the container stores.
        reorders: True if the decoder says that it may reorder frames.
    """
    shown = order[facts.is_shown[order]]
    pts = facts.pts[shown]
    is_repeated = np.diff(pts) == 0
    if is_repeated.any() and parts[-1]:
        is_repeated &= np.diff(parts[shown]) == 0  # parts of a clock may have equal times
    if is_repeated.any() or (pts == NO_PTS).any():
        return Trust.WRONG
    if not reorders or len(pts) == 1:
        return Trust.RIGHT
    by_kinds = order_by_kinds(facts.kinds)
    if by_kinds is not None:
        same = np.array_equal(by_kinds[facts.is_shown[by_kinds]], shown)
        return Trust.RIGHT if same else Trust.WRONG
    if facts.kinds.any() or clock is Clock.NONE:
        return Trust.WRONG
    if facts.is_key.all():
        return Trust.RIGHT
    if (np.diff(shown) > 0).all():
        return Trust.UNPROVEN
    if clock is Clock.DISPLAY_AND_DECODING and (facts.pts <= facts.dts)[facts.is_key & facts.is_shown].any():
        # Where frames wait for others that are shown earlier, key frames must wait as well.
        return Trust.WRONG
    return Trust.RIGHT
