"""One optimiser step over all processes: forward, backward, clip, update.

B clips of this process, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.feature_clip import FeatureBatch
from slowfast.distributed import World
from slowfast.engine.precision import Precision
from slowfast.errors import DataError, InputError, TrainingError
from slowfast.metrics import topk_correct
from slowfast.models.losses import LossFunction
from slowfast.solver import set_learning_rate


@dataclass(frozen=True)
class StepResult:
    """What one step did, the same on all ranks.

    Attributes:
        loss: mean over the global batch.
        clips: of the global batch.
        correct: clips whose label is the best, and among the best five; None when labels are no indices.
        grad_norm: over all parameters, before clipping.
        broken: videos that could not be used while the global batch was made.
        updated: False when the loss or a gradient was not finite, and the weights were left alone.
        stop: whether any rank was asked to stop.
    """

    loss: float
    clips: int
    correct: tuple[int, int] | None
    grad_norm: float
    broken: int
    updated: bool
    stop: bool


class TrainStep:
    """Updates a model by one batch; holds what a step needs beside the batch.

    Args:
        model: on the device of ``world``; its parameters that learn all take part in the output.
        optimizer: over the parameters of ``model`` that learn.
        loss: maps logits (B, K) and labels to the mean loss.
        mean, std: normalisation of the frames, per channel.
        clip_value: largest absolute value of a gradient; None: any.
        clip_norm: largest norm of all gradients together; None: any.
        network: maps a batch to logits through ``model``; None: the model itself.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        loss: LossFunction,
        world: World,
        precision: Precision,
        mean: Sequence[float],
        std: Sequence[float],
        clip_value: float | None = None,
        clip_norm: float | None = None,
        network: nn.Module | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scaler = precision.make_scaler()
        self._loss = loss
        self._world = world
        self._precision = precision
        self._mean, self._std = tuple(mean), tuple(std)
        self._clip_value, self._clip_norm = clip_value, clip_norm
        self._parallel_model = _distribute(network or model, world)

    def __call__(
        self, batch: ClipBatch | FeatureBatch, lr: float, *, asked_to_stop: Callable[[], bool] = lambda: False
    ) -> StepResult:
        """Takes one step at rate ``lr``; asks ``asked_to_stop`` late in it, and tells the other ranks."""
        set_learning_rate(self.optimizer, lr)
        logits = self._forward(batch := batch.to(self._world.device))  # (B, K)
        loss = self._loss(logits, batch.label)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        # Gradients are averaged over the ranks by now, so that their norm is the same on each.
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = get_total_norm(gradients)
        result = self._combine(loss.detach(), logits.detach(), norm, batch, asked_to_stop())
        if result.updated:
            self._update(norm)
        return result

    def _forward(self, batch: ClipBatch | FeatureBatch) -> Tensor:
        if batch.num_clips == 0:
            first = batch.broken[0]
            raise DataError(
                f"no clip of a batch could be read; the first: {first.path}: {first.reason} ({first.detail})"
            )
        try:
            with self._precision.autocast():
                inputs = batch.inputs(self._mean, self._std)
                return self._parallel_model(inputs, batch.positions, batch.mask)
        except InputError as error:
            ids = ", ".join(map(str, batch.video_id.tolist()))
            raise TrainingError(
                f"the model refuses a batch: {error}; its videos (rows of the list): {ids}"
            ) from error

    def _combine(
        self, loss: Tensor, logits: Tensor, norm: Tensor, batch: ClipBatch | FeatureBatch, stop: bool
    ) -> StepResult:
        """Sums the figures of all ranks, and decides with all of them whether the step counts."""
        clips = logits.shape[0]
        by_index = batch.label.ndim == 1
        top1, top5 = topk_correct(logits, batch.label, (1, 5)) if by_index else (0, 0)
        figures = [loss * clips, clips, top1, top5, len(batch.broken), stop]
        totals = torch.stack([torch.as_tensor(f, dtype=torch.float64, device=loss.device) for f in figures])
        total_loss, total, total1, total5, broken, stops, norm_value = torch.cat(
            [self._world.all_reduce_sum(totals), norm.detach().double()[None]]
        ).tolist()
        # With a scaler gradients overflow now and then; it skips that step by itself and lowers its scale.
        finite_gradients = self.scaler.is_enabled() or _is_finite(norm_value)
        return StepResult(
            loss=total_loss / total,
            clips=int(total),
            correct=(int(total1), int(total5)) if by_index else None,
            grad_norm=norm_value,
            broken=int(broken),
            updated=_is_finite(total_loss) and finite_gradients,
            stop=stops > 0,
        )

    def _update(self, norm: Tensor) -> None:
        if self._clip_value is not None:
            clip_grad_value_(self.model.parameters(), self._clip_value)
        elif self._clip_norm is not None:
            clip_grads_with_norm_(self.model.parameters(), self._clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def _distribute(model: nn.Module, world: World) -> nn.Module:
    if world.size == 1:
        return model
    device_ids = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=device_ids)


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")
