"""The length of a run, and the times of validations and checkpoints: pure functions of the progress."""

from __future__ import annotations

from dataclasses import dataclass

from fvcore.common.config import CfgNode

from slowfast.checkpoint.state import TrainingProgress
from slowfast.errors import counted


@dataclass(frozen=True)
class Schedule:
    """The length of a run, and the times of validations and checkpoints.

    Attributes:
        max_epoch: number of epochs.
        steps_per_epoch: optimiser steps per epoch.
        max_steps: number of steps after which the run ends early; 0: no such limit.
        eval_period, checkpoint_period: epochs between two validations, and between two checkpoints.
    """

    max_epoch: int
    steps_per_epoch: int
    max_steps: int = 0
    eval_period: int = 1
    checkpoint_period: int = 1

    @property
    def end(self) -> TrainingProgress:
        """The progress at which the run ends."""
        last_epoch = TrainingProgress(self.max_epoch, 0)
        if not self.max_steps:
            return last_epoch
        return min(last_epoch, TrainingProgress(*divmod(self.max_steps, self.steps_per_epoch)))

    def steps_to(self, progress: TrainingProgress) -> int:
        """Returns the number of optimiser steps from the start of the run to ``progress``."""
        return progress.epoch * self.steps_per_epoch + progress.step

    def after(self, progress: TrainingProgress) -> TrainingProgress:
        """Returns the progress one step after ``progress``."""
        if progress.step + 1 == self.steps_per_epoch:
            return TrainingProgress(progress.epoch + 1, 0)
        return TrainingProgress(progress.epoch, progress.step + 1)

    def describe_early_end(self, progress: TrainingProgress) -> str:
        """Returns why a training ends at ``progress``; empty unless it is before the last epoch's end."""
        steps, full = self.steps_to(progress), self.max_epoch * self.steps_per_epoch
        if not self.max_steps or progress < self.end or steps >= full:
            return ""
        return f"training ended after {counted(steps, 'step')} of {full} (TRAIN.MAX_STEPS = {self.max_steps})"

    def validates_at(self, progress: TrainingProgress) -> bool:
        """Returns whether a validation is due at ``progress``; always at the end of the run."""
        return progress >= self.end or (progress.step == 0 and progress.epoch % self.eval_period == 0)

    def saves_at(self, progress: TrainingProgress) -> bool:
        """Returns whether a checkpoint is due at ``progress``; always at the end of the run."""
        return progress >= self.end or (progress.step == 0 and progress.epoch % self.checkpoint_period == 0)


def build_schedule(cfg: CfgNode, *, steps_per_epoch: int) -> Schedule:
    """Builds the schedule of a configuration for epochs of that many steps."""
    return Schedule(
        max_epoch=cfg.SOLVER.MAX_EPOCH,
        steps_per_epoch=steps_per_epoch,
        max_steps=cfg.TRAIN.MAX_STEPS,
        eval_period=cfg.TRAIN.EVAL_PERIOD,
        checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
    )
