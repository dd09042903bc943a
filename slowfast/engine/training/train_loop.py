"""The training loop.

:func:`train` finds the newest checkpoint of the run, builds the run, restores it or starts it from a file,
and calls :func:`run_epochs`. That function takes the batches of each epoch from the loader, one optimiser
step per batch. After each step it checks the failures and the requests to stop or to save, and after each
epoch it saves and validates if that is due. All rules about resuming are in
:mod:`slowfast.checkpoint.resume`.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import NamedTuple

from fvcore.common.config import CfgNode

from slowfast.checkpoint.resume import find_own_checkpoint, resume, start_from_file
from slowfast.checkpoint.state import TrainingProgress
from slowfast.checkpoint.storage import checkpoint_path, read_training_state, recorded_validation
from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.world import World
from slowfast.engine.seeding import seed_generators
from slowfast.engine.speed.headroom import StepTimes
from slowfast.engine.training.build import build_training_run
from slowfast.engine.training.train_step import StepResult
from slowfast.engine.training.training_run import TrainingRun
from slowfast.errors import ConfigError
from slowfast.files import write_text
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.tracking.trackers import Trackers

logger = get_logger(__name__)


def train(cfg: CfgNode, world: World, interrupt: Interrupt, trackers: Trackers) -> Path:
    """Trains as configured, resuming from a checkpoint in ``OUTPUT_DIR``; returns the last checkpoint.

    ``OUTPUT_DIR/config.yaml`` is written once the start is known to be valid.

    Args:
        trackers: get the metrics; they are not closed.

    Raises:
        Interrupted: after a signal, with the state saved.
        SlowFastError: for every error that the user can fix.
    """
    run, start, resumed_from, is_unchanged = _build_start(cfg, world, interrupt, trackers)
    if world.is_main:
        # A start that is refused above leaves the configuration of the run whose checkpoints are there.
        write_text(Path(cfg.OUTPUT_DIR) / "config.yaml", cfg.dump())
    trackers.rewind(run.schedule.steps_to(start))
    run.prepare_frozen_encoding()
    if resumed_from is not None and is_unchanged:
        _make_up_validation(run, resumed_from, start)
        if start >= run.schedule.end:
            later = f": the checkpoint is of {start}, and the run ends at {run.schedule.end}"
            logger.info("training is complete%s", later if start > run.schedule.end else "")
    try:
        end = start if run.selection.is_exhausted else run_epochs(run, start)
        if run.selection.is_exhausted:
            logger.info(
                "training ended early at %s, after %d validations without improvement (TRAIN.PATIENCE); %s",
                end,
                run.selection.patience,
                run.selection.describe(),
            )
        elif ended := run.schedule.describe_early_end(end):
            logger.info("%s", ended)
        run.failure_budget.check_end(run.schedule.steps_to(end))
    finally:
        run.writer.wait()
    if resumed_from is not None and end == start:
        return resumed_from
    return checkpoint_path(cfg.OUTPUT_DIR, end)


class _Start(NamedTuple):
    """A run with the weights with which it starts.

    The state that was read from a checkpoint is not among the attributes, so that its memory is freed.

    Attributes:
        resumed_from: the run's own checkpoint; None at its first start.
        is_unchanged: whether ``progress`` is that of the checkpoint; otherwise its incomplete epoch restarts.
    """

    run: TrainingRun
    progress: TrainingProgress
    resumed_from: Path | None = None
    is_unchanged: bool = False


def _build_start(cfg: CfgNode, world: World, interrupt: Interrupt, trackers: Trackers) -> _Start:
    """Builds the run, and restores it from its own checkpoint or starts it from the configured file."""
    checkpoint = find_own_checkpoint(cfg.OUTPUT_DIR, auto_resume=cfg.TRAIN.AUTO_RESUME, world=world)
    path, reset_head = cfg.TRAIN.CHECKPOINT_FILE_PATH, cfg.TRAIN.CHECKPOINT_RESET_HEAD
    initial = None
    if checkpoint is None and path:
        initial = read_training_state(path, weights_only=reset_head or cfg.TRAIN.CHECKPOINT_EPOCH_RESET)
    run = build_training_run(
        cfg,
        world,
        interrupt,
        trackers,
        fetch_weights=checkpoint is None and initial is None,
        saved=None if checkpoint is None else checkpoint.state,
    )
    if checkpoint is not None:
        progress = resume(run.step, checkpoint, run.identity, forced=cfg.TRAIN.FORCE_RESUME)
        run.restore_counts(checkpoint.state, checkpoint.path, progress)
        if world.is_main:
            # Damaged files, too, that are later than the one resumed from: they count among the latest ones.
            run.writer.restart_from(progress)
        return _Start(run, progress, checkpoint.path, progress == checkpoint.state.progress)
    if initial is None:
        return _Start(run, TrainingProgress())
    end = run.schedule.end
    return _Start(run, start_from_file(run.step, path, initial, reset_head=reset_head, end=end))


def run_epochs(run: TrainingRun, start: TrainingProgress) -> TrainingProgress:
    """Trains from ``start`` to the end of the schedule, or until validations no longer improve.

    Returns:
        The progress at the end.

    Raises:
        Interrupted: after a signal on any rank, with the state saved.
    """
    schedule = run.schedule
    progress = start
    while progress < schedule.end:
        progress, last = _run_epoch(run, progress)
        if last.stop:
            raise run.stop(progress)
        is_saved = schedule.saves_at(progress) or last.save
        if is_saved:
            run.save(progress)
        if schedule.validates_at(progress):
            run.validate(progress, is_saved=is_saved)
            if run.selection.is_exhausted:
                break
        elif is_saved and not schedule.saves_at(progress):
            run.writer.release(progress)
    return progress


def _run_epoch(run: TrainingRun, start: TrainingProgress) -> tuple[TrainingProgress, StepResult]:
    """Trains to the end of the epoch or of the run; returns the progress and the result of the last step."""
    schedule, epoch, progress = run.schedule, start.epoch, start
    run.failure_budget.begin_epoch()
    lr = 0.0
    with run.log.begin_epoch(epoch, start.step) as bar:
        before = time.perf_counter()
        for batch in run.batches_from(progress):
            received = time.perf_counter()
            seed_generators(run.identity.seed, run.world.rank, epoch, progress.step)
            lr = run.lr_policy(epoch + progress.step / schedule.steps_per_epoch)
            batch = run.mix(batch, progress)
            is_due = functools.partial(run.writer.is_due, schedule.steps_to(progress) + 1)
            with blocking_on("a step of all ranks"):
                result = run.step(batch, lr, stop_requested=run.interrupt.requested, save_requested=is_due)
            times = StepTimes(waiting=received - before, computing=time.perf_counter() - received)
            run.failure_budget.check(progress, batch, result)
            run.log.add_step(epoch, progress.step, result, lr=lr, times=times)
            if hint := run.stall_detector.observe(result, batch, lr):
                logger.warning("%s", hint)
            waiting, computing = (f"{seconds:.3g} s" for seconds in times)
            bar.update(1, loss=result.loss, data=waiting, compute=computing)
            progress = schedule.after(progress)
            if progress.epoch > epoch or progress >= schedule.end:
                break
            if result.stop:
                raise run.stop(progress)
            if result.save:
                run.save(progress)
            before = time.perf_counter()
        else:
            raise ConfigError(
                f"DATA_LOADER.TRAIN_SAMPLER: must yield {schedule.steps_per_epoch} steps per epoch, as its "
                f"len() states, and has ended after {progress.step}"
            )
    run.log.end_epoch(epoch, schedule.steps_to(progress), lr=lr, broken=run.failure_budget.all_broken())
    return progress, result


def _make_up_validation(run: TrainingRun, checkpoint: Path, start: TrainingProgress) -> None:
    """Runs the validation before which a run was stopped, if there is one."""
    if run.schedule.validates_at(start) and recorded_validation(checkpoint) is None:
        logger.info("the run was stopped before its validation at %s", start)
        run.validate(start, is_saved=True)
