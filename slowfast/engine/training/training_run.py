"""The parts of a training run that the loop works with, and its checkpoints and validations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from slowfast.checkpoint.resume import RunIdentity
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import checkpoint_path, record_validation, recorded_validation
from slowfast.checkpoint.writer import CheckpointWriter
from slowfast.datasets.clip import Batch
from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import TrainingSampler
from slowfast.datasets.views.mixing import BatchMixer
from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.dtensor import full_state_on_cpu
from slowfast.distributed.world import World
from slowfast.engine.evaluated_model import EvaluatedModel
from slowfast.engine.evaluator import SplitEvaluator
from slowfast.engine.training.failure_budget import FailureBudget
from slowfast.engine.training.model_selection import ModelSelection
from slowfast.engine.training.schedule import Schedule
from slowfast.engine.training.stall import StallDetector
from slowfast.engine.training.train_step import TrainStep
from slowfast.engine.training.training_log import TrainingLog, validation_metrics
from slowfast.features.batch import FeatureMixer
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import get_logger
from slowfast.models.inference.encoding import prepare_frozen_encoding
from slowfast.solver import LRPolicy

logger = get_logger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """The parts of a training run.

    Attributes:
        step: takes one optimiser step; has the model, the optimiser and the scaler.
        loader: of this rank's training batches, see :meth:`batches_from`.
        mixer: mixes the clips of a batch; None: clips are not mixed.
        evaluator: of the validation split.
        evaluated: the model as it is evaluated.
        writer: of checkpoints; used on rank 0 only.
        selection: compares the validations.
        stall_detector: finds a loss that does not move; active on rank 0 only.
        crop_size: H and W of training frames, pixels.
        class_names: are saved in checkpoints; empty if the configuration names no file of them.
    """

    step: TrainStep
    loader: ClipLoader
    mixer: BatchMixer | FeatureMixer | None
    evaluator: SplitEvaluator
    evaluated: EvaluatedModel
    schedule: Schedule
    lr_policy: LRPolicy
    identity: RunIdentity
    log: TrainingLog
    failure_budget: FailureBudget
    writer: CheckpointWriter
    selection: ModelSelection
    stall_detector: StallDetector
    crop_size: int
    class_names: tuple[str, ...]
    world: World
    interrupt: Interrupt

    def batches_from(self, progress: TrainingProgress) -> ClipLoader:
        """Returns the loader of this rank's remaining batches of the epoch of ``progress``."""
        cast(TrainingSampler, self.loader.batch_sampler).set_position(progress.epoch, progress.step)
        return self.loader

    def mix(self, batch: Batch, progress: TrainingProgress) -> Batch:
        """Returns the batch of the step after ``progress``, mixed if that is configured."""
        if self.mixer is None:
            return batch
        mixer: Any = self.mixer  # of the kind of clips that the data set has
        return mixer(batch, epoch=progress.epoch, step=progress.step, device=self.world.device)

    def prepare_frozen_encoding(self) -> None:
        """Prepares a frozen backbone for frames, once the weights are final.

        A sharded or compiled one stays as it is.
        """
        if self.loader.dataset.features is None and not self.is_sharded and not self.step.is_compiled:
            size = (self.crop_size, self.crop_size)
            prepare_frozen_encoding(self.step.model, size, self.world.device, self.step.precision.dtype)

    @property
    def is_sharded(self) -> bool:
        """Whether each rank has only a part of the state, so that all ranks take part in saving it."""
        return self.evaluated.is_copy

    def save(self, progress: TrainingProgress) -> None:
        """Starts to write the state at ``progress`` on rank 0. All ranks must call it."""
        is_main = self.world.is_main
        if is_main:
            self.writer.wait()  # at most two copies of the state exist at a time
        if not (is_main or self.is_sharded):
            return
        step = self.step
        states = {
            "model_state": step.model.state_dict(),
            "optimizer_state": step.optimizer.state_dict(),
            "scaler_state": step.scaler.state_dict(),
            "average_state": {} if step.average is None else step.average.state_dict(),
        }
        with blocking_on("the shards of a checkpoint"):
            states = full_state_on_cpu(states, keep=is_main)
        if is_main:
            state = TrainingState(
                progress=progress,
                **states,
                config=self.identity.config,
                seed=self.identity.seed,
                global_batch=self.identity.global_batch,
                data_fingerprint=self.identity.data_fingerprint,
                lr_scale=self.identity.lr_scale,
                class_names=self.class_names,
                selection_state=self.selection.state_dict(),
                failure_state=self.failure_budget.state_dict(),
                log_state=self.log.state_dict(),
            )
            self.writer.write(state)

    def validate(self, progress: TrainingProgress, *, is_saved: bool) -> None:
        """Evaluates the model at ``progress`` and writes the metrics beside the checkpoint.

        Args:
            is_saved: whether the state at ``progress`` is in a checkpoint already.

        Raises:
            Interrupted: after a signal, with the state saved; the same command repeats the validation. With
                several ranks it is saved before the validation, and released after it unless it is kept.
        """
        # Of several ranks, not each that is interrupted below could save the state.
        if self.world.size > 1 and not is_saved:
            self.save(progress)
            is_saved = True
        try:
            with self.evaluated.ready():
                evaluation = self.evaluator.run()
        except Interrupted as interrupted:
            saved = self._describe_saved(progress) if is_saved else self._save_now(progress)
            raise Interrupted(interrupted.signum, saved) from None
        metrics: dict[str, float] = {}
        if evaluation is not None:
            metrics = validation_metrics(evaluation)
            if warning := self.selection.describe_uncertainty(metrics):
                logger.warning("%s", warning)
        metrics = self.world.all_gather_objects(metrics)[0]
        is_best = self.selection.observe(progress, metrics)
        if evaluation is not None:
            done = self.schedule.steps_to(progress)
            self.log.add_validation(done, evaluation, metrics, self.selection.lowest)
        kept = self._is_kept(is_best)
        if kept and not is_saved:
            self.save(progress)
        if self.world.is_main:
            self.writer.wait()  # a record is never older than its checkpoint
            record_validation(checkpoint_path(self.writer.output_dir, progress), metrics)
            if is_saved and not (kept or self.schedule.saves_at(progress)):
                self.writer.release(progress)
            self.writer.prune()

    def _is_kept(self, is_best: bool) -> bool:
        """Returns whether the state of the last validation is kept where no checkpoint is due."""
        return (is_best and self.selection.saves_best) or self.selection.is_exhausted

    def restore_counts(self, state: TrainingState, path: Path, progress: TrainingProgress) -> None:
        """Restores the number of skipped steps, the metrics of the epoch, and the comparison of validations.

        The last includes the one that was recorded for the checkpoint ``path``. All ranks must call it.
        """
        self.failure_budget.load_state_dict(state.failure_state)
        self.log.load_state_dict(state.log_state)
        self.selection.load_state_dict(state.selection_state)
        recorded = recorded_validation(path) if self.world.is_main else None
        recorded = self.world.all_gather_objects(recorded)[0]
        is_best = False
        if recorded is not None and progress == state.progress:
            is_best = self.selection.observe(progress, recorded)
        # A stopped or killed run had no time to release its checkpoint. With another configuration it may
        # have been the last one of a shorter run, which is kept.
        is_due = self.schedule.saves_at(progress) or (
            recorded is None and self.schedule.validates_at(progress)
        )
        if not (is_due or self._is_kept(is_best)) and state.config == self.identity.config:
            self.writer.release(progress)

    def stop(self, progress: TrainingProgress) -> Interrupted:
        """Saves the state and returns the exception to raise; all ranks must call it after a signal."""
        saved = self._save_now(progress)
        return Interrupted(max(self.world.all_gather_objects(self.interrupt.signum)), saved)

    def _save_now(self, progress: TrainingProgress) -> str:
        self.save(progress)
        return self._describe_saved(progress)

    def _describe_saved(self, progress: TrainingProgress) -> str:
        """Waits until the checkpoint is written and returns a sentence about it."""
        self.writer.wait()
        path = checkpoint_path(self.writer.output_dir, progress)
        return f"saved {path} ({progress}); the same command continues from there"
