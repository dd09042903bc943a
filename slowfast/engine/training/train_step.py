"""One optimiser step over all processes: forward, backward, clip, update.

B clips of this process, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from slowfast.datasets.clip import ClipBatch, map_tensors
from slowfast.distributed.parallel import explain, without_synchronization
from slowfast.distributed.world import World
from slowfast.engine.training.gradients import clip_norm, clip_value, gradients_of, total_norm
from slowfast.errors import DataError, InputError, TrainingError
from slowfast.features.batch import FeatureBatch
from slowfast.metrics import topk_correct
from slowfast.models.losses import LossFunction
from slowfast.models.precision import Precision
from slowfast.solver import set_learning_rate
from slowfast.solver.ema import WeightAverage


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
        save: whether any rank wants a checkpoint.
    """

    loss: float
    clips: int
    correct: tuple[int, int] | None
    grad_norm: float
    broken: int
    updated: bool
    stop: bool
    save: bool = False


def never() -> bool:
    """Nobody asks for anything."""
    return False


class TrainStep:
    """Updates a model by one batch; holds what a step needs beside the batch.

    Args:
        model: on the device of ``world``, whole or sharded; its parameters that learn all take part in the
            output.
        optimizer: over the parameters of ``model`` that learn.
        loss: maps logits (B, K) and labels to the mean loss.
        mean, std: normalisation of the frames, per channel.
        clip_value: largest absolute value of a gradient; None: any.
        clip_norm: largest norm of all gradients together; None: any.
        network: maps a batch to logits through ``model``, over all ranks; None: the model itself.
        parts: in which a batch goes through the network, one after another; the step is that of the whole.
        average: of the weights, taken after each update; None: there is none.
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
        parts: int = 1,
        average: WeightAverage | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scaler = precision.make_scaler()
        self.average = average
        self._loss = loss
        self._world = world
        self._precision = precision
        self._mean, self._std = tuple(mean), tuple(std)
        self._clip_value, self._clip_norm = clip_value, clip_norm
        self._network = network or model
        self._parts = parts

    def __call__(
        self,
        batch: ClipBatch | FeatureBatch,
        lr: float,
        *,
        asked_to_stop: Callable[[], bool] = never,
        asked_to_save: Callable[[], bool] = never,
    ) -> StepResult:
        """Takes one step at rate ``lr``; asks both questions late in it, and tells the other ranks."""
        set_learning_rate(self.optimizer, lr)
        self.optimizer.zero_grad()
        try:
            logits, loss = self._accumulate(batch := batch.to(self._world.device))  # (B, K)
        except RuntimeError as error:
            if (known := explain(error)) is not None:
                raise known from error
            raise
        self.scaler.unscale_(self.optimizer)
        gradients = gradients_of(self.model.parameters())
        norm = total_norm(gradients, self._world)
        result = self._combine(loss, logits, norm, batch, asked_to_stop(), asked_to_save())
        if result.updated:
            self._update(gradients, norm)
        else:
            self.scaler.update()  # it would take the next step's gradients for unscaled ones
        return result

    def _accumulate(self, batch: ClipBatch | FeatureBatch) -> tuple[Tensor, Tensor]:
        """Forward and backward, part by part; returns the logits (B, K) and the mean loss of the batch."""
        logits, mean_loss = [], torch.zeros((), device=self._world.device)
        for number in range(self._parts):
            part, share = _part(batch, number, self._parts)
            is_last = number == self._parts - 1
            with nullcontext() if is_last else without_synchronization(self._network):
                part_logits = self._forward(part)
                loss = self._loss(part_logits, part.label) * share
                self.scaler.scale(loss).backward()
            mean_loss = mean_loss + loss.detach()
            if share > 0:
                logits.append(part_logits.detach())
        return torch.cat(logits), mean_loss

    def _forward(self, batch: ClipBatch | FeatureBatch) -> Tensor:
        if batch.num_clips == 0:
            first = batch.broken[0]
            raise DataError(
                f"no clip of a batch could be read; the first: {first.path}: {first.reason} ({first.detail})"
            )
        try:
            with self._precision.autocast():
                inputs = batch.inputs(self._mean, self._std)
                return self._network(inputs, batch.positions, batch.mask)
        except InputError as error:
            ids = ", ".join(map(str, batch.video_id.tolist()))
            raise TrainingError(
                f"the model refuses a batch: {error}; its videos (rows of the list): {ids}"
            ) from error

    def _combine(
        self,
        loss: Tensor,
        logits: Tensor,
        norm: Tensor,
        batch: ClipBatch | FeatureBatch,
        stop: bool,
        save: bool,
    ) -> StepResult:
        """Sums the figures of all ranks, and decides with all of them whether the step counts."""
        clips = logits.shape[0]
        by_index = batch.label.ndim == 1
        top1, top5 = topk_correct(logits, batch.label, (1, 5)) if by_index else (0, 0)
        figures = [loss * clips, clips, top1, top5, len(batch.broken), stop, save]
        totals = torch.stack([torch.as_tensor(f, dtype=torch.float64, device=loss.device) for f in figures])
        total_loss, total, total1, total5, broken, stops, saves, norm_value = torch.cat(
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
            save=saves > 0,
        )

    def _update(self, gradients: Sequence[Tensor], norm: Tensor) -> None:
        if self._clip_value is not None:
            clip_value(gradients, self._clip_value)
        elif self._clip_norm is not None:
            clip_norm(gradients, self._clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()


def _part(batch: ClipBatch | FeatureBatch, number: int, parts: int) -> tuple[ClipBatch | FeatureBatch, float]:
    """Part ``number`` of a batch cut into ``parts``, and its share of the batch's clips.

    Where there are fewer clips than parts some have a share of 0 and a clip that does not count: all ranks
    must have the same number of parts.
    """
    size = batch.num_clips
    if parts == 1 or size == 0:
        return batch, 1.0
    first, last = size * number // parts, size * (number + 1) // parts
    start = min(first, size - 1)
    clips = slice(start, max(last, start + 1))
    return map_tensors(batch, lambda tensor: tensor[clips]), (last - first) / size


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")
