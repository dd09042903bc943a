"""The measurement of a training run's headroom: a few steps with loading, then steps on a batch in memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from slowfast.checkpoint.state import TrainingProgress
from slowfast.datasets.clip import Batch
from slowfast.datasets.loading.loader import BatchSampler
from slowfast.distributed.device import is_cpu, synchronize
from slowfast.engine.speed.cores import Cores
from slowfast.engine.speed.headroom import Headroom, estimate_step
from slowfast.engine.training.training_run import TrainingRun
from slowfast.log import get_logger
from slowfast.timing.stage_times import StageTimes

logger = get_logger(__name__)

# Steps on a batch that is in memory.
_STEPS = 3
# Most seconds that steps with loading shall take, by the time of the second of them.
_BUDGET_SECONDS = 20.0
# A worker has two batches ready before it waits; as many turns again are measured.
_TURNS_AHEAD, _TURNS = 2, 2


@dataclass(frozen=True)
class MeasuredRun:
    """The results of one rank.

    Attributes:
        batch: the batch of the steps without loading.
        load_seconds: until the first batch was loaded, the start of the workers included.
    """

    batch: Batch
    load_seconds: float
    headroom: Headroom


class _EndableSampler:
    """The batches of a sampler until ``is_ended`` is set; workers then finish what they have."""

    def __init__(self, sampler: BatchSampler) -> None:
        self._sampler = sampler
        self.is_ended = False

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Sequence[Any]]:
        for items in self._sampler:
            if self.is_ended:
                return
            yield items


def measure_run(training: TrainingRun, *, cores: Cores, is_cached: bool) -> MeasuredRun:
    """Takes steps with loading, then steps on the last batch while no worker computes.

    All ranks must call it.

    Args:
        cores, is_cached: see :class:`Headroom`.
    """
    started = time.perf_counter()
    loader = training.batches_from(TrainingProgress())
    original = loader.batch_sampler
    sampler = loader.batch_sampler = _EndableSampler(original)
    workers, before = loader.num_workers, loader.times
    batches = iter(loader)
    batch = next(batches)
    load_seconds = time.perf_counter() - started
    seconds = _take_step(training, batch)  # the first step allocates memory and compiles
    if training.world.is_main:  # the others may take minutes on a CPU
        logger.info("first batch loaded in %.3g s, first step took %.3g s", load_seconds, seconds)
    steps = _steps_with_loading(training, batches, batch, load_seconds)
    sampler.is_ended = True
    drained = sum(1 for _ in batches)
    loader.batch_sampler = original
    compute = statistics.median(_take_step(training, steps.batch) for _ in range(_STEPS))
    loading = steps.loading or (loader.times - before) / (1 + steps.count + drained)
    headroom = Headroom(
        compute=compute,
        step=steps.seconds or estimate_step(compute, loading, workers),
        loading=loading,
        workers=workers,
        cores=cores,
        is_cached=is_cached,
        device_copy=_copy_seconds(steps.batch, training.world.device),
        is_estimated=steps.seconds is None,
    )
    return MeasuredRun(steps.batch, load_seconds, headroom)


@dataclass(frozen=True)
class _Steps:
    """Steps on new batches.

    Attributes:
        count: number of steps.
        batch: the last batch.
        seconds: per step; None where all batches were loaded in advance.
        loading: of one batch; None likewise.
    """

    count: int
    batch: Batch
    seconds: float | None = None
    loading: StageTimes | None = None


class _Timeline:
    """Steps on new batches, with the time and the sums of the loader at the end of each.

    Attributes:
        batch: the last batch.
    """

    def __init__(self, training: TrainingRun, batches: Iterator[Batch], batch: Batch) -> None:
        self._training, self._batches = training, batches
        self.batch = batch
        self._ends, self._loaded = [time.perf_counter()], [training.loader.times]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def take(self, count: int) -> None:
        """Takes steps, fewer than ``count`` where the epoch ends."""
        for batch in islice(self._batches, count):
            self.batch = batch
            _take_step(self._training, batch)
            self._ends.append(time.perf_counter())
            self._loaded.append(self._training.loader.times)

    def step_seconds(self, last: int) -> float:
        """Returns the mean time of the last steps."""
        return (self._ends[-1] - self._ends[-1 - last]) / last

    def loading(self, last: int) -> StageTimes:
        """Returns the mean times of loading the batches of the last steps."""
        return (self._loaded[-1] - self._loaded[-1 - last]) / last


def _steps_with_loading(
    training: TrainingRun, batches: Iterator[Batch], batch: Batch, load_seconds: float
) -> _Steps:
    """Takes steps after a first one on ``batch``, which was loaded in ``load_seconds``."""
    workers = training.loader.num_workers
    turn = max(workers, 1)
    ahead = _TURNS_AHEAD * workers
    timeline = _Timeline(training, batches, batch)
    timeline.take(1)
    if len(timeline):
        slow = max(timeline.step_seconds(1), load_seconds / turn)
        fitting = min(int(_BUDGET_SECONDS / slow), ahead + _TURNS * turn)
        # All ranks must take equally many.
        timeline.take(max(min(training.world.all_gather_objects(fitting)), 1) - 1)
    measured = len(timeline) - ahead
    if measured < 1:
        return _Steps(len(timeline), timeline.batch)
    # Batches arrive in bursts of one per worker: whole turns have the mean time.
    measured = measured // turn * turn or measured
    return _Steps(len(timeline), timeline.batch, timeline.step_seconds(measured), timeline.loading(measured))


def _take_step(training: TrainingRun, batch: Batch) -> float:
    """Takes a step at the first learning rate, unless a stop was requested; returns its seconds."""
    training.interrupt.raise_if_requested()
    started = time.perf_counter()
    training.step(training.mix(batch, TrainingProgress()), training.lr_policy(0.0))
    synchronize(training.world.device)
    return time.perf_counter() - started


def _copy_seconds(batch: Batch, device: torch.device) -> float:
    """Returns the seconds of copying a batch to the device; 0 for the CPU."""
    if is_cpu(device):
        return 0.0
    seconds = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        batch.to(device)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
