"""The time of a training step with and without loading, what it takes to hide the loading, and a monitor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch

from slowfast.distributed.device import is_cpu
from slowfast.distributed.host import usable_cores
from slowfast.distributed.world import World
from slowfast.errors import counted
from slowfast.timing.stage_times import COLLATING, COPYING, READING, StageTimes

LOADING, COMPUTE, BALANCED = "loading", "compute", "balanced"
# Fraction of a step by which loading must lengthen it to count as its limit.
_NOTICEABLE = 0.1
# Workers that need less than this fraction of a step per batch have room to spare.
_SPARE = 0.8
# Steps over which a monitor averages times, at least.
_AVERAGED_STEPS = 20


@dataclass(frozen=True)
class Cores:
    """The cores of one training process.

    Attributes:
        total: for its workers and itself.
        computing: those that the step keeps busy: the threads of a model on the CPU; 0 on a GPU.
    """

    total: int
    computing: int = 0


def cores_of(world: World) -> Cores:
    """Returns the cores of this process, an equal part of those of its node."""
    total = max(usable_cores() // world.local_size, 1)
    return Cores(total, min(torch.get_num_threads(), total) if is_cpu(world.device) else 0)


@dataclass(frozen=True)
class Headroom:
    """The seconds of a step of one process, and of the loading of its batch.

    Attributes:
        compute: seconds per step for a batch that is already in memory, its copy to the device included.
        step: seconds per step with loading.
        loading: seconds that one worker spends on a batch, by stage.
        workers: loader workers of the process; 0: the process loads by itself.
        cores: of the process.
        is_cached: whether items are features instead of frames.
        device_copy: seconds of ``compute`` for the copy to the device; 0 on the CPU.
        is_estimated: whether ``step`` follows from the other times, as the epoch is too short to measure it.
    """

    compute: float
    step: float
    loading: StageTimes
    workers: int
    cores: Cores
    is_cached: bool = False
    device_copy: float = 0.0
    is_estimated: bool = False

    @property
    def limit(self) -> str:
        """``LOADING``, ``COMPUTE``, or ``BALANCED`` where neither has much to spare."""
        if self.step > (1 + _NOTICEABLE) * self.compute:
            return LOADING
        if self.seconds_per_batch < _SPARE * self.compute:
            return COMPUTE
        return BALANCED

    @property
    def limiting_stage(self) -> str:
        """The longest stage of loading; copying, where the copy to the device takes longer than a batch."""
        return COPYING if self.device_copy > self.seconds_per_batch else self.loading.largest

    @property
    def seconds_per_batch(self) -> float:
        """Seconds between two batches when all workers are busy."""
        return self.loading.total / max(self.workers, 1)

    @property
    def workers_needed(self) -> int:
        """The least number of workers whose batches arrive as fast as the model takes them."""
        return max(math.ceil(self.loading.total / self.compute), 1)

    def describe(self) -> str:
        """Returns one line: both times, the limit with its stage, and the remedy."""
        about = "about " if self.is_estimated else ""
        times = f"compute {self.compute:.3g} s, with loading {about}{self.step:.3g} s"
        place = "" if self.workers else ", in the training process itself (DATA_LOADER.NUM_WORKERS 0)"
        if self.limit == LOADING and self._workers_suffice:
            return (
                f"{times}: waits for data, although {counted(self.workers, 'worker')} can load a batch per "
                f"{self.seconds_per_batch:.3g} s: {self._describe_waiting()}"
            )
        if self.limit == LOADING:
            return f"{times}: loading limits ({self._describe_stage()}){place}; {self._remedy()}"
        if self.workers == 0:
            return f"{times}: compute limits; loading is {self.loading.total:.3g} s of it{place}"
        spare = f"{counted(self.workers, 'worker')} can load a batch per {self.seconds_per_batch:.3g} s"
        if self.limit == COMPUTE:
            return f"{times}: compute limits; {spare}"
        return f"{times}: balanced; {spare}"

    def stats(self) -> dict[str, Any]:
        """Returns all values for a ``json_stats`` line; times in seconds."""
        stages = {f"load_{stage}": seconds for stage, seconds in asdict(self.loading).items()}
        return {
            "_type": "headroom",
            "compute": self.compute,
            "with_loading": self.step,
            "is_estimated": self.is_estimated,
            "limit": self.limit,
            "limiting_stage": self.limiting_stage,
            **stages,
            "copy_to_device": self.device_copy,
            "workers": self.workers,
            "workers_needed": self.workers_needed,
            "cores": self.cores.total,
        }

    def _describe_stage(self) -> str:
        stage = self.limiting_stage
        if stage == COPYING and self.device_copy > self.seconds_per_batch:
            return f"copying to the device {self.device_copy:.3g} s"
        return f"{stage} {100 * self.loading.fraction(stage):.0f} % of it"

    def _describe_waiting(self) -> str:
        """Returns why batches arrive late although the workers suffice."""
        if self.workers + self.cores.computing > self.cores.total:
            return f"they and the model share {counted(self.cores.total, 'core')}"
        return "for their start, single slow videos, or cores that other programs use"

    def _remedy(self) -> str:
        more = self.workers_needed - self.workers
        if more <= 0:  # the copy to the device is longer than what the workers do
            return self._less_work()
        if self._can_hide:
            return f"{counted(more, 'more worker' if self.workers else 'worker')} would hide it"
        computing = self.cores.computing
        busy = f", of which the model keeps {computing} busy" if computing else ""
        cores = counted(self.cores.total, "core")
        few = f"the machine has only {cores} per process{busy}: {self._less_work()}"
        idle = self.cores.total - computing - self.workers
        if idle > 0:
            return f"{counted(idle, 'more worker')} would shorten it, but {few}"
        return f"more workers would not help: {few}"

    @property
    def _workers_suffice(self) -> bool:
        """Whether batches arrive as fast as the model takes them, on average."""
        is_copying = self.device_copy > self.seconds_per_batch
        return self.workers >= self.workers_needed and not is_copying

    @property
    def _can_hide(self) -> bool:
        """Whether the cores suffice for the step and for all of its loading at the same time."""
        total, computing = self.cores.total, self.cores.computing
        most = self.compute * ((1 + _NOTICEABLE) * total - computing)
        return self.workers_needed <= total and self.loading.total <= most

    def _less_work(self) -> str:
        stage = self.limiting_stage
        if stage in (COLLATING, COPYING):
            return "load fewer or smaller frames"
        if self.is_cached:
            return "keep the features on a faster disk, or cache fewer tokens per frame"
        less = "make the videos small (slowfast prepare resize)"
        if stage == READING:
            less = "copy the files to a local disk"
        return f"{less}, or cache the features of a frozen backbone (DATA.FEATURES)"


def estimate_step(compute: float, loading: StageTimes, workers: int) -> float:
    """Returns the seconds of a step with loading where workers do nothing but load, and never wait."""
    return compute + loading.total if workers == 0 else max(compute, loading.total / workers)


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
        averaged = -(-_AVERAGED_STEPS // turn) * turn
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
