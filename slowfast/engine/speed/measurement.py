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
from slowfast.engine.speed.headroom import Headroom, cores_of, estimate_step
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


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """The results of one rank.

    Attributes:
        clips, frames: of the batch of the steps without loading: number of clips, and frames per clip.
        load_seconds: until the first batch was loaded, the start of the workers included.
    """

    clips: int
    frames: int
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


def measure_run(training: TrainingRun) -> MeasuredRun:
    """Takes steps with loading, then steps on the last batch while no worker computes.

    All ranks must call it.
    """
    started = time.perf_counter()
    loader = training.batches_from(TrainingProgress())
    original = loader.batch_sampler
    sampler = loader.batch_sampler = _EndableSampler(original)
    before = loader.times
    batches = iter(loader)
    batch = next(batches)
    load_seconds = time.perf_counter() - started
    seconds = _take_step(training, batch)  # the first step allocates memory and compiles
    if training.world.is_main:  # the others may take minutes on a CPU
        logger.info("first batch loaded in %.3g s, first step took %.3g s", load_seconds, seconds)
    steps = _Timeline(training, batches, batch)
    measured = _take_measured_steps(steps, training, load_seconds)
    sampler.is_ended = True
    drained = sum(1 for _ in batches)
    loader.batch_sampler = original
    compute = statistics.median(_take_step(training, steps.batch) for _ in range(_STEPS))
    if measured:
        loading, step = steps.loading(measured), steps.step_seconds(measured)
    else:  # all batches were loaded in advance
        loading = (loader.times - before) / (1 + len(steps) + drained)
        step = estimate_step(compute, loading, loader.num_workers)
    headroom = Headroom(
        compute=compute,
        step=step,
        loading=loading,
        workers=loader.num_workers,
        cores=cores_of(training.world),
        is_cached=loader.dataset.features is not None,
        device_copy=_copy_seconds(steps.batch, training.world.device),
        is_estimated=not measured,
    )
    frames = steps.batch.positions.shape[1]
    return MeasuredRun(
        clips=steps.batch.num_clips, frames=frames, load_seconds=load_seconds, headroom=headroom
    )


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


def _take_measured_steps(steps: _Timeline, training: TrainingRun, load_seconds: float) -> int:
    """Takes steps after one whose batch was loaded in ``load_seconds``.

    Returns:
        How many of the last steps had batches that were not loaded in advance.
    """
    workers = training.loader.num_workers
    turn = max(workers, 1)
    ahead = _TURNS_AHEAD * workers
    steps.take(1)
    if len(steps):
        slow = max(steps.step_seconds(1), load_seconds / turn)
        fitting = min(int(_BUDGET_SECONDS / slow), ahead + _TURNS * turn)
        # All ranks must take equally many.
        steps.take(max(min(training.world.all_gather_objects(fitting)), 1) - 1)
    measured = max(len(steps) - ahead, 0)
    # Batches arrive in bursts of one per worker: whole turns have the mean time.
    return measured // turn * turn or measured


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
