"""The frame table, built from packets without decoding."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from slowfast.video.frame_table.display_order import (
    Clock,
    Trust,
    order_by_kinds,
    order_by_times,
    trust_in_times,
)
from slowfast.video.frame_table.frame_kinds import BIDIRECTIONAL, INTRA, PREDICTED, UNKNOWN, FrameKinds
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

I, P, B = INTRA, PREDICTED, BIDIRECTIONAL  # noqa: E741


def facts_of(
    pts: list[int | None],
    dts: list[int | None] | None = None,
    keys: tuple[int, ...] = (0,),
    kinds: list[int] | None = None,
) -> PacketFacts:
    """Returns the facts of packets of duration 10 with the given timestamps, in stream order."""
    rows = array("q")
    for i, time in enumerate(pts):
        kind = UNKNOWN if kinds is None else kinds[i]
        known = [NO_PTS if value is None else value for value in (time, dts[i] if dts else None)]
        flags = SHOWN + KEY * (i in keys) + KIND * kind
        rows.extend((*known, 10, 100 * i, 7, flags))
    return PacketFacts.of_rows(rows)


def table_of(pts: list[int | None], keys: tuple[int, ...] = (0,)) -> FrameTable:
    """Returns the table of frames whose display times are right."""
    facts = facts_of(pts, keys=keys)
    order = order_by_times(facts, np.zeros(len(pts), np.int64))
    times, _ = frame_times(facts, order, tick=0.01, rate=10.0)
    return FrameTable(times, facts.pts[order], order, key_packets(facts.is_key, order), facts, damaged=False)


def trust(facts: PacketFacts, clock: Clock = Clock.DISPLAY, *, reorders: bool = True) -> Trust:
    parts = clock_parts(facts, 0.01)
    return trust_in_times(facts, parts, order_by_times(facts, parts), clock, reorders=reorders)


def test_missing_or_repeated_times_are_wrong() -> None:
    assert trust(facts_of([0, None, 20]), reorders=False) is Trust.WRONG
    assert trust(facts_of([0, 10, 10, 20]), reorders=False) is Trust.WRONG
    assert trust(facts_of([0, 10, 20]), reorders=False) is Trust.RIGHT


def test_ascending_times_of_reordered_frames_need_a_proof() -> None:
    assert trust(facts_of([0, 10, 20])) is Trust.UNPROVEN
    assert trust(facts_of([0, 20, 10], dts=[-10, 0, 10]), Clock.DISPLAY_AND_DECODING) is Trust.RIGHT


def test_guessed_times_are_wrong_where_frames_are_reordered() -> None:
    assert trust(facts_of([0, 20, 10]), Clock.NONE) is Trust.WRONG
    assert trust(facts_of([0, 10, 20]), Clock.NONE, reorders=False) is Trust.RIGHT


def test_a_key_frame_that_does_not_wait_among_frames_that_do_makes_times_wrong() -> None:
    facts = facts_of([20, 40, 30, 50, 51], dts=[0, 10, 20, 50, 51], keys=(0, 3))
    assert trust(facts, Clock.DISPLAY_AND_DECODING) is Trust.WRONG


def test_kinds_of_frames_confirm_or_refute_times() -> None:
    kinds = [I, P, B, B, P]
    right, wrong = [0, 30, 10, 20, 40], [0, 10, 20, 30, 40]
    assert trust(facts_of(right, kinds=kinds), Clock.NONE) is Trust.RIGHT
    assert trust(facts_of(wrong, kinds=kinds), Clock.NONE) is Trust.WRONG
    assert order_by_kinds(np.array(kinds)).tolist() == [0, 2, 3, 1, 4]  # type: ignore[union-attr]
    assert order_by_kinds(np.array([I, UNKNOWN, P])) is None


def coded_frame(kind: int, size: int = 100) -> bytes:
    """Returns an MPEG-4 frame of a kind: its start code, two bits, and nothing that is read."""
    return b"\0\0\1\xb6" + bytes([{I: 0, P: 0x40, B: 0x80}[kind]]) + b"\xff" * (size - 5)


def test_kinds_of_packed_frames_are_those_that_are_shown() -> None:
    """Tests P with B packed behind it, the next B alone, and the empty frame that ends the row."""
    packets = [
        coded_frame(I),
        coded_frame(P) + coded_frame(B),
        coded_frame(B),
        coded_frame(P, 6),
        coded_frame(P),
    ]
    reader = FrameKinds("mpeg4")
    assert [reader.next(packet) for packet in packets] == [I, P, B, B, P]
    assert reader.is_packed


def test_the_kind_of_a_frame_that_may_be_empty_is_unknown() -> None:
    reader = FrameKinds("mpeg4")
    assert [reader.next(coded_frame(I)), reader.next(coded_frame(P, 6))] == [I, UNKNOWN]
    assert not reader.is_packed


def test_a_clock_that_falls_starts_a_part_that_follows_the_one_before() -> None:
    times = [1000, 1010, 1020, 990, 1000, 1010]
    facts = facts_of([*times], dts=[*times], keys=(0, 3))
    parts = clock_parts(facts, 0.01)
    assert parts.tolist() == [0, 0, 0, 1, 1, 1]
    assert trust(facts, reorders=False) is Trust.RIGHT, "equal times of two parts are not repeated ones"
    assert order_by_times(facts, parts).tolist() == [0, 1, 2, 3, 4, 5]
    assert join_clocks(facts, parts, step=10).pts.tolist() == [1000, 1010, 1020, 1030, 1040, 1050]


def test_a_clock_that_ffmpeg_took_for_an_overrun_is_joined_too() -> None:
    ticks = [0, 3600, 7200]
    times = [*ticks, *(time + 2**33 - 90000 for time in ticks)]
    facts = facts_of([*times], dts=[*times])
    parts = clock_parts(facts, 1 / 90000)
    assert parts.tolist() == [0, 0, 0, 1, 1, 1]
    times = [*ticks, *(time + 3600 * 90000 for time in ticks)]
    pause = facts_of([*times], dts=[*times])
    assert clock_parts(pause, 1 / 90000).tolist() == [0] * 6, "an hour's pause is one"


def test_without_display_times_frames_are_shown_at_decoding_times() -> None:
    """Tests a pause behind the fourth frame; the decoder holds one frame back."""
    decoding = [0, 10, 20, 30, 40, 540, 550]
    facts = facts_of([None] * 7, dts=list(decoding))
    times, are_display_times = frame_times(facts, np.array([0, 2, 1, 4, 3, 6, 5]), tick=0.01, rate=25)
    assert not are_display_times
    np.testing.assert_allclose(times.seconds, np.array([0, 10, 20, 30, 530, 540, 550]) / 100)


def test_without_any_times_frames_are_shown_at_an_even_rate() -> None:
    facts = facts_of([None] * 3, dts=[None] * 3)
    times, _ = frame_times(facts, np.array([0, 2, 1]), tick=0.01, rate=25)
    np.testing.assert_allclose(times.seconds, [0, 0.04, 0.08])
    assert times.duration == pytest.approx(0.12)


def test_frames_shown_before_their_key_frame_start_at_the_one_before() -> None:
    """Tests an open group: packets 3 and 4 are stored after key packet 2 and shown before it."""
    built = table_of([0, 30, 60, 40, 50, 70], keys=(0, 2))
    starts = dict(zip(built.pts.tolist(), built.key_packet.tolist(), strict=True))  # type: ignore[union-attr]
    assert starts == {0: 0, 30: 0, 40: 0, 50: 0, 60: 2, 70: 2}


def test_decoding_does_not_start_at_a_key_packet_that_is_not_shown() -> None:
    is_key = np.array([True, False, True, False])
    assert key_packets(is_key, np.array([1, 3])).tolist() == [0, 0]


def test_runs_join_frames_that_share_packets_and_separate_others() -> None:
    built = table_of([i * 10 for i in range(30)], keys=(0, 10, 20))
    assert list(built.runs(np.array([25, 3, 7]))) == [(0, 7), (20, 25)]
    assert list(built.runs(np.array([9, 10]))) == [(0, 9), (10, 10)]


def test_a_packet_is_found_by_its_time_offset_and_size() -> None:
    built = table_of([0, 10, 10])
    assert built.number_of(10, 200, 7) == 2
    assert built.number_of(10, None, 7) is None, "two packets have that time"
    assert built.number_of(30, 200, 7) is None
    assert built.number_of(10, 200, 8) is None
