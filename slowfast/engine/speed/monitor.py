"""The headroom of a training, from the times of its first steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from slowfast.engine.speed.headroom import Cores, Headroom
from slowfast.timing.stage_times import StageTimes

# Steps over which times are averaged, at least.
_STEPS = 20


class StepTimes(NamedTuple):
    """The seconds of one training step.

    Attributes:
        waiting: for the batch of the step.
        computing: the step itself.
    """

    waiting: float
    computing: float


class HeadroomMonitor:
    """The mean times of the first steps of a training, without those whose batches were loaded in advance.

    Args:
        loading_times: returns the seconds that all workers have spent so far.
        workers: loader workers of this process.
        cores, is_cached: see :class:`Headroom`.
    """

    def __init__(
        self,
        loading_times: Callable[[], StageTimes],
        *,
        workers: int,
        cores: Cores,
        is_cached: bool,
    ) -> None:
        self._loading_times = loading_times
        self._workers = workers
        self._cores = cores
        self._is_cached = is_cached
        # Each worker has two batches ready at the start; a whole number of turns of all workers follows.
        self._skipped = 1 + 2 * workers
        turns = -(-_STEPS // max(workers, 1))
        self._averaged = turns * max(workers, 1)
        self._done = 0
        self._waiting = self._computing = 0.0
        self._before = StageTimes()

    def observe(self, times: StepTimes) -> Headroom | None:
        """Adds a step; returns the headroom once, after the last of the averaged steps."""
        self._done += 1
        if self._done <= self._skipped:
            if self._done == self._skipped:
                self._before = self._loading_times()
            return None
        if self._done > self._skipped + self._averaged:
            return None
        self._waiting += times.waiting
        self._computing += times.computing
        if self._done < self._skipped + self._averaged:
            return None
        compute = self._computing / self._averaged
        return Headroom(
            compute=compute,
            step=compute + self._waiting / self._averaged,
            loading=(self._loading_times() - self._before) / self._averaged,
            workers=self._workers,
            cores=self._cores,
            is_cached=self._is_cached,
        )
