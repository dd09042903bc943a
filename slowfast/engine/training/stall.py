"""The detection of a training whose loss does not move, and the measurements that tell why.

A model that gives all clips the scores of the class frequencies has a loss near its first value for any
number of steps. The hint has the measured size of gradients and, for a model with
:class:`slowfast.models.capabilities.DescribesStates`, what its states look like.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.datasets.clip import Batch, Normalization
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.distributed.world import World
from slowfast.engine.training.schedule import Schedule
from slowfast.engine.training.train_step import StepResult
from slowfast.errors import InputError, first_line
from slowfast.models.capabilities import DescribesStates, FrameByFrameModel, clip_grid_of
from slowfast.models.frame_format import frame_normalization

# Fraction of the first loss by which the loss must have fallen.
_LEAST_CHANGE = 0.05
# Fraction of the way from the accuracy of the largest class to 1 above which a model has learned something.
_LEARNED = 0.1
# Clips that are measured, which bounds memory.
_MEASURED_CLIPS = 16
# Fraction of a training within which its loss should move; a long one is given more steps than a short one.
_EARLY = 0.05
# Learning rate at which an advised warm-up starts, as a fraction of SOLVER.BASE_LR.
_START = 0.01


@dataclass
class StallDetector:
    """Compares the loss of the last steps with that of the first steps of a training.

    The loss has not moved if its mean over the last N / 2 steps is not below that over the first N / 2 by two
    standard errors and 5 %, and the accuracy is less than a tenth of the way from the fraction of the largest
    class to 1. It is checked every N steps until it has moved once.

    Attributes:
        steps: N; 0: never checked.
        first_check: steps of the warm-up, before which nothing is checked.
        chance: fraction of the largest class in the training list; 1 where the accuracy is unknown.
        starts_new: False for a run that is resumed, whose first steps are not those of the training.
        describe: returns measurements of the model on a batch.
        advice: end of the hint.
    """

    steps: int
    first_check: int = 0
    chance: float = 1.0
    starts_new: bool = True
    describe: Callable[[Batch], Sequence[str]] = lambda batch: ()
    advice: str = ""
    _is_over: bool = False
    _done: int = 0
    _first: list[StepResult] = field(default_factory=list)
    _last: list[StepResult] = field(default_factory=list)

    @property
    def _half(self) -> int:
        return max(self.steps // 2, 1)

    def observe(self, result: StepResult, batch: Batch, lr: float) -> str:
        """Adds a step; returns a hint, once per run, if the loss has not moved, else an empty text."""
        if self._is_over or self.steps == 0 or not (self.starts_new and result.updated):
            return ""
        self._done += 1
        if self._done <= self._half:
            self._first.append(result)
        if (self._done - 1) % self.steps >= self.steps - self._half:
            self._last.append(result)
        if self._done % self.steps:
            return ""
        last, self._last = self._last, []
        if self._has_moved(last):
            self._is_over = True
            return ""
        if self._done < self.first_check + self.steps:
            return ""
        self._is_over = True
        return self._hint(last, batch, lr)

    def _has_moved(self, last: list[StepResult]) -> bool:
        accuracy = _accuracy(last)
        if accuracy is not None and (accuracy - self.chance) / max(1 - self.chance, 1e-9) > _LEARNED:
            return True
        first_losses, last_losses = (np.array([step.loss for step in steps]) for steps in (self._first, last))
        fall = first_losses.mean() - last_losses.mean()
        error = np.sqrt(first_losses.var() / len(first_losses) + last_losses.var() / len(last_losses))
        return bool(fall > max(2 * error, _LEAST_CHANGE * abs(first_losses.mean())))

    def _hint(self, last: list[StepResult], batch: Batch, lr: float) -> str:
        first_loss, last_loss = (np.mean([step.loss for step in steps]) for steps in (self._first, last))
        facts = [
            f"mean {first_loss:.4f} over the first {self._half}, {last_loss:.4f} over the last {self._half}"
        ]
        if (accuracy := _accuracy(last)) is not None:
            facts.append(f"accuracy {100 * accuracy:.1f} %, the largest class has {100 * self.chance:.1f} %")
        norms = [step.grad_norm for step in last]
        facts.append(f"learning rate {lr:.3g}")
        facts.append(f"gradient norm {np.mean(norms):.3g} (± {np.std(norms):.2g})")
        facts += self.describe(batch)
        return f"loss has not moved in {self._done} steps: {'; '.join(facts)}. {self.advice}".rstrip()


def _accuracy(steps: list[StepResult]) -> float | None:
    """Returns the top-1 accuracy over some steps, in 0 … 1; None if their labels are not class indices."""
    correct = [step.correct.top1 for step in steps if step.correct is not None]
    return sum(correct) / sum(step.clips for step in steps) if len(correct) == len(steps) else None


def build_stall_detector(
    cfg: CfgNode,
    model: nn.Module,
    dataset: ViewDataset,
    world: World,
    schedule: Schedule,
    *,
    is_sharded: bool,
    starts_new: bool,
) -> StallDetector:
    """Builds the detector of a loss that does not move; it does nothing on other ranks than 0.

    Args:
        model: on the device of ``world``.
        dataset: the training set.
        is_sharded: whether rank 0 has only a part of the weights; the model is then not measured.
        starts_new: whether the training starts at its first step.
    """
    describe = functools.partial(
        _measure,
        model,
        device=world.device,
        normalization=frame_normalization(cfg, model),
        has_features=dataset.features is not None,
    )
    labels = dataset.labels
    steps = cfg.TRAIN.STALL_STEPS if world.is_main else 0
    return StallDetector(
        max(steps, round(_EARLY * schedule.steps_to(schedule.end))) if steps else 0,
        first_check=round(cfg.SOLVER.WARMUP_EPOCHS * schedule.steps_per_epoch),
        chance=float(np.bincount(labels).max() / len(labels)) if labels.ndim == 1 else 1.0,
        starts_new=starts_new,
        describe=(lambda batch: ()) if is_sharded else describe,
        advice=_advise(
            cfg.SOLVER.OPTIMIZING_METHOD, cfg.SOLVER.BASE_LR, warms_up=cfg.SOLVER.WARMUP_EPOCHS > 0
        ),
    )


@torch.no_grad()
def _measure(
    model: Any, batch: Batch, device: torch.device, normalization: Normalization, *, has_features: bool
) -> Sequence[str]:
    """Returns the measurements of a model that describes its states; the model is left as it was."""
    if not (isinstance(model, DescribesStates) and isinstance(model, FrameByFrameModel)):
        return ()
    # The states of a clip encoder have other positions than its frames.
    if batch.num_clips < 2 or not (has_features or clip_grid_of(model) is None):
        return ()
    clips = batch.map_tensors(operator.itemgetter(slice(_MEASURED_CLIPS))).to(device)
    network: Any = model
    was_training = network.training
    network.eval()
    try:
        inputs = clips.inputs(normalization)
        features = inputs if has_features else model.encode_frames(inputs)
        return model.describe_states(features, clips.positions, clips.mask)
    except (InputError, RuntimeError) as error:  # a hint must not end a run
        return (f"the states could not be measured ({first_line(error)})",)
    finally:
        network.train(was_training)


def _advise(method: str, base_lr: float, *, warms_up: bool) -> str:
    """Returns the end of the hint; its values can be set as they are written."""
    if method == "sgd":
        start = f", SOLVER.WARMUP_START_LR {_START * 0.0005:g}" if warms_up else ""
        return (
            f"SGD with SOLVER.BASE_LR {base_lr:g} needs many steps for a temporal encoder that starts from "
            f"random weights; use SOLVER.OPTIMIZING_METHOD adamw with SOLVER.BASE_LR 0.0005{start}, or a "
            "higher rate and more epochs"
        )
    return (
        f"Try another SOLVER.BASE_LR than {base_lr:g}, a warm-up (SOLVER.WARMUP_EPOCHS 0.5 with "
        f"SOLVER.WARMUP_START_LR {_START * base_lr:g}) and SOLVER.CLIP_GRAD_L2NORM 1.0; check that labels "
        "belong to their videos"
    )
