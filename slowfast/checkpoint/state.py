"""The progress of a training run, and the state from which it can be continued."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, order=True)
class TrainingProgress:
    """How far a training run is: whole epochs done, and optimiser steps done of the next one."""

    epoch: int = 0
    step: int = 0

    def __str__(self) -> str:
        return (
            f"step {self.step} of epoch {self.epoch + 1}" if self.step else f"the end of epoch {self.epoch}"
        )


@dataclass(frozen=True)
class TrainingState:
    """All that decides how a run goes on.

    The random numbers of a step are a function of (seed, step, rank) and those of a sample one of
    (seed, epoch, index), so that the seed and the position stand for all states of generators.

    Attributes:
        position: where the run is.
        model_state, optimizer_state, scaler_state: ``state_dict()`` of each, of whole tensors.
        config: the configuration as YAML.
        seed: ``RNG_SEED``.
        global_batch: clips a step over all processes.
        data_fingerprint: of the training samples in their order; empty where it is not known.
        class_names: in the order of the classes; empty where the run did not know them.
        lr_scale: by what the configuration's learning rates are multiplied.
        average_state: ``state_dict()`` of the moving average of the weights; empty where there is none.
    """

    position: TrainingProgress
    model_state: dict[str, Tensor]
    optimizer_state: dict[str, Any]
    scaler_state: dict[str, Any]
    config: str
    seed: int
    global_batch: int
    data_fingerprint: str
    class_names: tuple[str, ...] = ()
    lr_scale: float = 1.0
    average_state: dict[str, Any] = field(default_factory=dict)
