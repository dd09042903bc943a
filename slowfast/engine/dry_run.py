"""A rehearsal of a training run: everything is built, a batch is loaded, a few steps are taken."""

from __future__ import annotations

import os
import resource
import socket
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slowfast.checkpoint.state import TrainingProgress
from slowfast.distributed.world import World
from slowfast.engine.training.training_run import TrainingRun, build_training_run
from slowfast.errors import ConfigError
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.progress import format_duration

logger = get_logger(__name__)

_STEPS = 3


@dataclass(frozen=True)
class Rehearsal:
    """What a few steps took on one rank.

    Attributes:
        clips, frames: of its batch.
        load_seconds: until the first batch was there, the start of the workers with it.
        step_seconds: median over the steps after the first.
        weights, gradients, optimizer: bytes that stay over the whole run.
        peak: bytes at the highest point: of the device on a GPU, of the process on the CPU.
    """

    rank: int
    host: str
    device: str
    clips: int
    frames: int
    load_seconds: float
    step_seconds: float
    weights: int
    gradients: int
    optimizer: int
    peak: int


def rehearse(cfg: Any, world: World, interrupt: Interrupt) -> list[Rehearsal]:
    """Builds the training that ``cfg`` describes and takes a few steps on one batch a rank.

    Weights are not fetched, and nothing is written.

    Returns:
        What it took on all ranks, on rank 0, where it is also logged; an empty list elsewhere.

    Raises:
        ConfigError: when the configuration does not train.
    """
    if not cfg.TRAIN.ENABLE:
        raise ConfigError("TRAIN.ENABLE = False: --dry-run rehearses training; set it True")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TENSORBOARD.ENABLE = False
    cfg.freeze()
    training = build_training_run(cfg, world, interrupt, fetch_weights=False)
    rehearsals = world.gather_objects(_take_steps(training, world))
    training.close()
    if world.is_main:
        for line in describe(training, rehearsals):
            logger.info("dry run: %s", line)
    return rehearsals


def _take_steps(training: TrainingRun, world: World) -> Rehearsal:
    begun = time.perf_counter()
    training.loader.batch_sampler.set_position(0, 0)
    position = TrainingProgress()
    batch = next(iter(training.loader))
    load_seconds = time.perf_counter() - begun
    batch = training.mix(batch, position)
    seconds = []
    for _ in range(1 + _STEPS):
        begun = time.perf_counter()
        training.step(batch, training.lr_policy(0.0))
        _synchronize(world)
        seconds.append(time.perf_counter() - begun)
    model, optimizer = training.step.model, training.step.optimizer
    return Rehearsal(
        rank=world.rank,
        host=socket.gethostname(),
        device=str(world.device),
        clips=batch.num_clips,
        frames=batch.positions.shape[1],
        load_seconds=load_seconds,
        step_seconds=statistics.median(seconds[1:]),
        weights=_bytes([*model.parameters(), *model.buffers()]),
        gradients=_bytes(p.grad for p in model.parameters() if p.grad is not None),
        optimizer=_bytes(v for state in optimizer.state.values() for v in _tensors(state)),
        peak=_peak(world),
    )


def describe(training: TrainingRun, rehearsals: list[Rehearsal]) -> list[str]:
    """The lines that rank 0 logs."""
    first = rehearsals[0]
    schedule = training.schedule
    parameters = list(training.step.model.parameters())
    total = sum(p.numel() for p in parameters)
    learning = sum(p.numel() for p in parameters if p.requires_grad)
    slowest = max(r.step_seconds for r in rehearsals)
    steps = schedule.steps_to(schedule.end)
    lines = [
        f"{total:,} parameters, {learning:,} of them learn",
        f"memory that stays on each rank: {format_bytes(first.weights)} of weights, "
        f"{format_bytes(first.gradients)} of gradients, {format_bytes(first.optimizer)} of the optimiser",
        f"{schedule.steps_per_epoch} steps an epoch, {steps} in all; {slowest:.3g} s a step on the slowest "
        f"rank: an epoch takes {format_duration(slowest * schedule.steps_per_epoch)}, the whole run "
        f"{format_duration(slowest * steps)}, if loading keeps up, and without validation",
    ]
    lines += [
        f"rank {r.rank} on {r.host}, {r.device}: {r.clips} clips of {r.frames} frames; first batch after "
        f"{r.load_seconds:.3g} s; {r.step_seconds:.3g} s a step; memory at its peak {format_bytes(r.peak)}"
        + ("" if r.device.startswith("cuda") else " (of the process, all that is loaded with it)")
        for r in rehearsals
    ]
    return [*lines, "nothing was written"]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(_local(tensor).numel() * tensor.element_size() for tensor in tensors)


def _local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that is spread over the ranks."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _tensors(state: Mapping[str, Any]) -> list[Tensor]:
    return [value for value in state.values() if isinstance(value, Tensor)]


def _synchronize(world: World) -> None:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)


def _peak(world: World) -> int:
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device)
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def format_bytes(count: int) -> str:
    """Returns a number of bytes with a unit that suits it.

    >>> format_bytes(5_767_168)
    '5.5 MiB'
    """
    power = min(max(count.bit_length() - 1, 10) // 10, 3)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"
