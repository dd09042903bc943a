"""A dry run of training: everything is built, and a few steps are taken with loading and without."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.checkpoint.needed_weights import find_needed_weights
from slowfast.checkpoint.storage import last_checkpoint
from slowfast.distributed.device import peak_memory
from slowfast.distributed.dtensor import to_local
from slowfast.distributed.world import World
from slowfast.engine.speed.measurement import MeasuredRun, measure_run
from slowfast.engine.training.build import build_training_run
from slowfast.engine.training.training_run import TrainingRun
from slowfast.errors import ConfigError, counted
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger, log_json_stats
from slowfast.models.complexity import describe_parameters
from slowfast.progress import format_bytes, format_duration
from slowfast.tracking.trackers import Trackers

logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class DryRunResult(MeasuredRun):
    """Time and memory of a few steps on one rank.

    Attributes:
        weights, gradients, optimizer: bytes that are allocated during the entire run.
        peak: largest number of allocated bytes, of the device or of the process.
        is_peak_of_process: whether it is that of the process, as on the CPU.
    """

    rank: int
    host: str
    device: str
    weights: int
    gradients: int
    optimizer: int
    peak: int
    is_peak_of_process: bool


def run_dry(cfg: CfgNode, world: World, interrupt: Interrupt) -> list[DryRunResult]:
    """Builds the training run that ``cfg`` describes and takes a few steps.

    No file is written. The log says which weights the run would download. They are only fetched where
    ``DATA.FEATURES`` is set, since a cache is used with the weights that it was extracted with.

    Returns:
        The results of all ranks on rank 0, which also logs them; an empty list on the others.

    Raises:
        ConfigError: if ``TRAIN.ENABLE`` is False.
        CheckpointError: for a file of weights that the configuration names and that does not exist.
    """
    if not cfg.TRAIN.ENABLE:
        raise ConfigError("TRAIN.ENABLE = False: must be True for --dry-run, which tests a training run")
    fetch_weights = bool(cfg.DATA.FEATURES)
    for line in _describe_start(cfg, fetch_weights):
        if world.is_main:
            logger.info("dry run: %s", line)
    training = build_training_run(cfg, world, interrupt, Trackers(), fetch_weights=fetch_weights)
    if world.is_main:
        logger.info("dry run: taking a few steps")
    training.prepare_frozen_encoding()
    results = world.gather_objects(_run_steps(training, world))
    if world.is_main:
        for line in describe_results(training, results):
            logger.info("dry run: %s", line)
        log_json_stats(_slowest(results).headroom.stats())
    return results


def _describe_start(cfg: CfgNode, fetch_weights: bool) -> list[str]:
    """Returns lines about the weights of the dry run, and of the run that it stands for."""
    lines = [
        "published weights are fetched, since DATA.FEATURES is checked against them"
        if fetch_weights
        else "with random weights; published ones are not fetched, and checkpoints not read"
    ]
    start = cfg.TRAIN.CHECKPOINT_FILE_PATH or (cfg.TRAIN.AUTO_RESUME and last_checkpoint(cfg.OUTPUT_DIR))
    if start:  # a checkpoint holds all weights
        return [*lines, f"the run would start from {start}"]
    return [*lines, *(weights.describe() for weights in find_needed_weights(cfg))]


def _run_steps(training: TrainingRun, world: World) -> DryRunResult:
    model, optimizer = training.step.model, training.step.optimizer
    measured = measure_run(training)
    of_device = peak_memory(world.device)
    return DryRunResult(
        rank=world.rank,
        host=socket.gethostname(),
        device=str(world.device),
        **vars(measured),
        weights=_bytes([*model.parameters(), *model.buffers()]),
        gradients=_bytes(p.grad for p in model.parameters() if p.grad is not None),
        optimizer=_bytes(
            value
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ),
        peak=_peak_of_process() if of_device is None else of_device,
        is_peak_of_process=of_device is None,
    )


def describe_results(training: TrainingRun, results: list[DryRunResult]) -> list[str]:
    """Returns the lines that rank 0 logs."""
    first = results[0]
    schedule = training.schedule
    slowest = _slowest(results)
    seconds = slowest.headroom.step
    steps = schedule.steps_to(schedule.end)
    lines = [
        describe_parameters(training.step.model),
        f"memory of each rank during the entire run: weights {format_bytes(first.weights)}, "
        f"gradients {format_bytes(first.gradients)}, optimiser {format_bytes(first.optimizer)}",
        f"{counted(schedule.steps_per_epoch, 'step')} per epoch, {steps} in total; {seconds:.3g} s per step "
        f"on the slowest rank: an epoch takes {format_duration(seconds * schedule.steps_per_epoch)}, the run "
        f"{format_duration(seconds * steps)}, without validation",
        (f"rank {slowest.rank}, the slowest: " if len(results) > 1 else "") + slowest.headroom.describe(),
    ]
    lines += [
        f"rank {r.rank} on {r.host}, {r.device}: {counted(r.clips, 'clip')} of {counted(r.frames, 'frame')}; "
        "first batch after "
        f"{r.load_seconds:.3g} s; {r.headroom.step:.3g} s per step; peak memory {format_bytes(r.peak)}"
        + (" (of the process, including all libraries)" if r.is_peak_of_process else "")
        for r in results
    ]
    return [*lines, "no file was written"]


def _slowest(results: list[DryRunResult]) -> DryRunResult:
    return max(results, key=lambda result: result.headroom.step)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(to_local(tensor).numel() * tensor.element_size() for tensor in tensors)


def _peak_of_process() -> int:
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
