"""The training loop."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

from slowfast.checkpoint.resume import check_resumable, find_start, read_own_state, restore, start_from_file
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import checkpoint_path, recorded_validation
from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.world import World
from slowfast.engine.seeding import seed_generators
from slowfast.engine.training.training_run import TrainingRun, build_training_run
from slowfast.errors import CheckpointError
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger

logger = get_logger(__name__)


def train(cfg: Any, world: World, interrupt: Interrupt) -> Path:
    """Trains as the configuration says, from where ``OUTPUT_DIR`` left off; returns the last checkpoint.

    Raises:
        Interrupted: after a signal; the state is saved then.
        SlowFastError: for all that a user can mend.
    """
    newest = find_start(cfg.OUTPUT_DIR, auto_resume=cfg.TRAIN.AUTO_RESUME, world=world)
    starts_afresh = newest is None and not cfg.TRAIN.CHECKPOINT_FILE_PATH
    begun = None if newest is None else read_own_state(newest)
    training = build_training_run(cfg, world, interrupt, fetch_weights=starts_afresh, begun=begun)
    start = TrainingProgress()
    if newest is not None and begun is not None:
        start = _continue(training, newest, begun, forced=cfg.TRAIN.FORCE_RESUME)
    elif cfg.TRAIN.CHECKPOINT_FILE_PATH:
        start = _begin_from_file(training, cfg)
    try:
        end = run_epochs(training, start)
    finally:
        training.close()
    return newest if newest is not None and end == start else checkpoint_path(cfg.OUTPUT_DIR, end)


def run_epochs(training: TrainingRun, start: TrainingProgress) -> TrainingProgress:
    """Trains from ``start`` to the end of the schedule; returns where that is (or was, before ``start``).

    Raises:
        Interrupted: after a signal on any rank; the state is saved then.
    """
    schedule, log, world = training.schedule, training.log, training.world
    position = start
    while position < schedule.end:
        epoch, first = position.epoch, position.step
        training.loader.batch_sampler.set_position(epoch, first)
        training.failure_budget.begin_epoch()
        lr = 0.0
        with log.begin_epoch(epoch, first) as progress:
            before = time.perf_counter()
            for batch in training.loader:
                received = time.perf_counter()
                seed_generators(training.identity.seed, world.rank, epoch, position.step)
                lr = training.lr_policy(epoch + position.step / schedule.steps_per_epoch)
                batch = training.mix(batch, position)
                with blocking_on("a step of all ranks"):
                    result = training.step(
                        batch,
                        lr,
                        asked_to_stop=training.interrupt.requested,
                        asked_to_save=functools.partial(
                            training.writer.is_due, schedule.steps_to(position) + 1
                        ),
                    )
                times = (received - before, time.perf_counter() - received)  # waiting for data, computing
                training.failure_budget.check(position, batch, result)
                log.add_step(epoch, position.step, result, lr=lr, times=times)
                data, compute = (f"{seconds:.3g} s" for seconds in times)
                progress.update(1, loss=result.loss, data=data, compute=compute)
                position = schedule.after(position)
                if result.stop:
                    raise training.stop(position)
                if position.epoch > epoch or position >= schedule.end:
                    break
                if result.save:
                    training.save(position)
                before = time.perf_counter()
        log.end_epoch(epoch, schedule.steps_to(position), lr=lr, broken=training.failure_budget.all_broken())
        if schedule.saves_at(position):
            training.save(position)
        if schedule.validates_at(position):
            training.validate(position)
    return position


def _continue(training: TrainingRun, path: Path, state: TrainingState, *, forced: bool) -> TrainingProgress:
    """Takes over the state of this run's own checkpoint, and validates it where that was still due."""
    start = check_resumable(state, training.identity, source=path, forced=forced)
    restore(training.step, state, source=path, forced=forced)
    logger.info("continuing from %s, %s", path, start)
    if start < state.position:
        if training.world.is_main:
            training.writer.begin_anew(start)
        return start
    if training.schedule.validates_at(start) and recorded_validation(path) is None:
        logger.info("the run was stopped before its validation at %s", start)
        training.validate(start)
    if start >= training.schedule.end:
        logger.info("training is complete")
    return start


def _begin_from_file(training: TrainingRun, cfg: Any) -> TrainingProgress:
    """Takes over ``TRAIN.CHECKPOINT_FILE_PATH``: weights, and where it was unless that is to be forgotten."""
    path = cfg.TRAIN.CHECKPOINT_FILE_PATH
    state = start_from_file(
        training.step,
        path,
        epoch_reset=cfg.TRAIN.CHECKPOINT_EPOCH_RESET,
        reset_head=cfg.TRAIN.CHECKPOINT_RESET_HEAD,
    )
    if state is None:
        return TrainingProgress()
    # Another list of videos is a new run's right; a place in the middle of an epoch means nothing there.
    start = TrainingProgress(state.position.epoch, 0)
    if start >= training.schedule.end:
        raise CheckpointError(
            f"{path} is at {start} and this run ends at {training.schedule.end}: nothing is left to train; "
            "set TRAIN.CHECKPOINT_EPOCH_RESET True to start from its weights"
        )
    return start
