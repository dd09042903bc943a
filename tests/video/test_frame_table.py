"""The frame table, built from packets without decoding."""

from __future__ import annotations

import numpy as np
import pytest

from slowfast.video.frame_table import FrameTable, PacketLog, build_table


def table(pts: list[int | None], keys: tuple[int, ...] = (0,), **options: bool) -> FrameTable:
    """Returns the table of packets of duration 10 with the given timestamps, in stream order."""
    log = PacketLog()
    for i, time in enumerate(pts):
        log.add(time, 10, i in keys, is_shown=True)
    built = build_table(log, tick=0.01, rate=10.0, **{"reorders": False, "damaged": False, **options})
    assert built is not None
    return built


def test_frames_are_ordered_by_the_time_they_are_shown() -> None:
    built = table([100, 130, 110, 120], reorders=True)
    assert built.packet.tolist() == [0, 2, 3, 1]
    np.testing.assert_allclose(built.times.seconds, [0, 0.1, 0.2, 0.3])
    assert built.times.duration == pytest.approx(0.4)
    assert built.times.fps == pytest.approx(10)


@pytest.mark.parametrize(
    ("pts", "reorders"), [([0, None, 20], False), ([0, 10, 10, 20], False), ([0, 10, 20], True)]
)
def test_missing_repeated_or_impossible_timestamps_are_not_used(
    pts: list[int | None], reorders: bool
) -> None:
    built = table(pts, reorders=reorders)
    assert built.pts is None
    np.testing.assert_allclose(built.times.seconds, np.arange(len(pts)) / 10)


def test_frames_shown_before_their_key_frame_start_at_the_one_before() -> None:
    """Tests an open group: packets 3 and 4 are stored after key packet 2 and shown before it."""
    built = table([0, 30, 60, 40, 50, 70], keys=(0, 2), reorders=True)
    starts = dict(zip(built.pts.tolist(), built.key_packet.tolist(), strict=True))  # type: ignore[union-attr]
    assert starts == {0: 0, 30: 0, 40: 0, 50: 0, 60: 2, 70: 2}


def test_runs_join_frames_that_share_packets_and_separate_others() -> None:
    built = table([i * 10 for i in range(30)], keys=(0, 10, 20))
    assert list(built.runs(np.array([25, 3, 7]))) == [(0, 7), (20, 25)]
    assert list(built.runs(np.array([9, 10]))) == [(0, 9), (10, 10)]


def test_a_stream_whose_packets_show_nothing_has_no_table() -> None:
    log = PacketLog()
    log.add(0, 10, is_key=True, is_shown=False)
    assert build_table(log, tick=0.01, rate=10.0, reorders=False, damaged=False) is None
