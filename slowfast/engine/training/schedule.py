"""How long a run goes and what is due when: pure functions of the position."""

from __future__ import annotations

from dataclasses import dataclass

from slowfast.checkpoint.state import TrainingProgress


@dataclass(frozen=True)
class Schedule:
    """How long a run goes, and what is due when.

    Attributes:
        max_epoch: epochs of the run.
        steps_per_epoch: optimiser steps of an epoch.
        max_steps: steps after which the run ends early; 0: none.
        eval_period, checkpoint_period: epochs between two validations, two checkpoints.
    """

    max_epoch: int
    steps_per_epoch: int
    max_steps: int = 0
    eval_period: int = 1
    checkpoint_period: int = 1

    @property
    def end(self) -> TrainingProgress:
        """Where the run ends."""
        whole = TrainingProgress(self.max_epoch, 0)
        return (
            min(whole, TrainingProgress(*divmod(self.max_steps, self.steps_per_epoch)))
            if self.max_steps
            else whole
        )

    def steps_to(self, position: TrainingProgress) -> int:
        """Optimiser steps from the start of the run to ``position``."""
        return position.epoch * self.steps_per_epoch + position.step

    def after(self, position: TrainingProgress) -> TrainingProgress:
        """The position one step later."""
        last = position.step + 1 == self.steps_per_epoch
        return (
            TrainingProgress(position.epoch + 1, 0)
            if last
            else TrainingProgress(position.epoch, position.step + 1)
        )

    def validates_at(self, position: TrainingProgress) -> bool:
        """Whether a validation is due; at the end of the run one always is."""
        return position >= self.end or (position.step == 0 and position.epoch % self.eval_period == 0)

    def saves_at(self, position: TrainingProgress) -> bool:
        """Whether a checkpoint is due; at the end of the run one always is."""
        return position >= self.end or (position.step == 0 and position.epoch % self.checkpoint_period == 0)
