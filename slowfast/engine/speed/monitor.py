"""The headroom of a training, from the times of its first steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass
class HeadroomMonitor:
    """The mean times of the first steps of a training, without those whose batches were loaded in advance.

    Attributes:
        loading_times: returns the seconds that all workers have spent so far.
        workers: loader workers of this process.
        cores, is_cached: see :class:`Headroom`.
    """

    loading_times: Callable[[], StageTimes]
    workers: int
    cores: Cores
    is_cached: bool
    _done: int = 0
    _waiting: float = 0.0
    _computing: float = 0.0
    _before: StageTimes = field(default_factory=StageTimes)

    def observe(self, times: StepTimes) -> Headroom | None:
        """Adds a step; returns the headroom once, after the last of the averaged steps."""
        # Each worker has two batches ready at the start; a whole number of turns of all workers follows.
        skipped = 1 + 2 * self.workers
        turn = max(self.workers, 1)
        averaged = -(-_STEPS // turn) * turn
        self._done += 1
        if self._done <= skipped:
            if self._done == skipped:
                self._before = self.loading_times()
            return None
        if self._done > skipped + averaged:
            return None
        self._waiting += times.waiting
        self._computing += times.computing
        if self._done < skipped + averaged:
            return None
        compute = self._computing / averaged
        return Headroom(
            compute=compute,
            step=compute + self._waiting / averaged,
            loading=(self.loading_times() - self._before) / averaged,
            workers=self.workers,
            cores=self.cores,
            is_cached=self.is_cached,
        )
