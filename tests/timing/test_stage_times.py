"""Each moment of loading counts for one stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from slowfast.timing import stage_times
from slowfast.timing.stage_times import COLLATING, DECODING, READING, StageTimes, measure, take_times


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that shows ``seconds[0]``."""
    take_times()
    now = [0.0]
    monkeypatch.setattr(stage_times.time, "perf_counter", lambda: now[0])
    yield now
    monkeypatch.undo()
    take_times()


def test_an_inner_stage_interrupts_the_outer_one(seconds: list[float]) -> None:
    with measure(READING):
        seconds[0] = 1.0
        with measure(DECODING):
            seconds[0] = 5.0
        seconds[0] = 7.0
    seconds[0] = 100.0  # idle
    with measure(COLLATING):
        seconds[0] = 101.0
    assert take_times() == StageTimes(reading=3.0, decoding=4.0, collating=1.0)
    assert take_times() == StageTimes()


def test_a_stage_ends_with_an_exception(seconds: list[float]) -> None:

    def fail() -> None:
        seconds[0] = 2.0
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), measure(READING), measure(DECODING):
        fail()
    seconds[0] = 9.0
    assert take_times() == StageTimes(decoding=2.0)


def test_times_taken_within_a_stage_are_not_taken_again(seconds: list[float]) -> None:
    with measure(READING):
        seconds[0] = 1.0
        assert take_times().reading == 1.0
        seconds[0] = 3.0
    assert take_times().reading == 2.0


def test_threads_have_times_of_their_own() -> None:
    take_times()
    with measure(READING):
        thread = threading.Thread(target=lambda: measure(DECODING).__enter__())
        thread.start()
        thread.join()
        time.sleep(0.01)
    times = take_times()
    assert times.reading >= 0.01
    assert times.decoding == 0


def test_sums_and_fractions() -> None:
    total = StageTimes(1, 2, 3, 4, 5) - StageTimes(1, 1, 1, 1, 1) + StageTimes(copying=6)
    assert total == StageTimes(0, 1, 2, 3, 10)
    assert (total / 2).total == 8
    assert (total.largest, total.fraction("copying")) == ("copying", 0.625)
    assert StageTimes().fraction("decoding") == 0
