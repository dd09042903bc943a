"""One optimiser step over all processes: forward, backward, clip, update.

B clips of this process, K classes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from slowfast.datasets.clip import Batch, Normalization
from slowfast.distributed.device import device_errors, upload, widest_float
from slowfast.distributed.dtensor import to_full
from slowfast.distributed.parallel import (
    as_user_error,
    needs_rehearsal,
    rehearsal,
    without_synchronization,
)
from slowfast.distributed.world import World
from slowfast.engine.training.compiled_network import compiled_part, is_compile_error
from slowfast.errors import DataError, DecodeError, InputError, TrainingError
from slowfast.metrics.accuracy import topk_correct
from slowfast.models.adapter import require_logits
from slowfast.models.capabilities import memory_remedies
from slowfast.models.losses import LossFunction
from slowfast.models.objective.training_loss import require_mean
from slowfast.models.precision import Precision
from slowfast.solver import set_learning_rate
from slowfast.solver.ema import WeightAverage
from slowfast.solver.norm_statistics import NormStatistics, warn_of_micro_batches


class Correct(NamedTuple):
    """Numbers of clips that are classified correctly.

    Attributes:
        top1: clips whose label has the highest score.
        top5: clips whose label is among the five highest scores.
    """

    top1: int
    top5: int


@dataclass(frozen=True)
class StepResult:
    """The result of one step, the same on all ranks.

    Attributes:
        loss: mean over the global batch.
        clips: number of clips in the global batch.
        correct: clips that are classified correctly; None if labels are not class indices.
        grad_norm: norm of the gradient over all parameters, before clipping.
        broken: number of broken videos found while the global batch was loaded.
        updated: False if the loss or a gradient was not finite, and the weights were not changed.
        overflow_scale: scale of the loss at which gradients in float16 overflowed while the loss was finite;
            the scaler has halved it since. None in any other step.
        stop: whether any rank has a request to stop.
        save: whether any rank has a request for a checkpoint.
    """

    loss: float
    clips: int
    correct: Correct | None
    grad_norm: float
    broken: int
    updated: bool
    stop: bool
    save: bool = False
    overflow_scale: float | None = None


class TrainStep:
    """One optimiser step on a batch, and the objects that it uses.

    Args:
        model: on the device of ``world``, with full or sharded parameters. All parameters that require a
            gradient must have an influence on the output.
        optimizer: over these parameters.
        loss: maps logits (B, K) and labels to the mean loss.
        normalization: of the frames.
        clip_value: largest absolute value of a gradient; None: no limit.
        clip_norm: largest norm of all gradients together; None: no limit.
        network: maps a batch to logits through ``model``, over all ranks; None: the model itself.
        micro_batches: number of parts into which a batch is split for forward and backward. The result is
            that of the undivided batch, except for batch norms in training mode, which see a part; the first
            step then logs a warning.
        average: moving average of the weights, updated after each step; None without one.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        loss: LossFunction,
        world: World,
        precision: Precision,
        normalization: Normalization,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        network: nn.Module | None = None,
        micro_batches: int = 1,
        average: WeightAverage | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scaler = precision.make_scaler()
        self.average = average
        self._loss = loss
        self._world = world
        self.precision = precision
        self._normalization = normalization
        self._clip_value, self._clip_norm = clip_value, clip_norm
        self._network = network or model
        self._compiled = compiled_part(self._network)
        self._micro_batches = micro_batches
        self._has_started = False
        self._needs_rehearsal = needs_rehearsal(self._network, world)
        # A model's lists are walked once: in a step of small operations they would take a noticeable time.
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # The least harmful first.
        self._remedies = (
            "a larger TRAIN.GRAD_ACCUM_STEPS",
            *memory_remedies(model, training=True),
            "TRAIN.PRECISION mixed",
            "a smaller TRAIN.BATCH_SIZE",
        )
        self._statistics = NormStatistics(model)

    @property
    def is_compiled(self) -> bool:
        """Whether the network, or a part of it, is compiled."""
        return self._compiled is not None

    def __call__(
        self,
        batch: Batch,
        lr: float,
        *,
        stop_requested: Callable[[], bool] = lambda: False,
        save_requested: Callable[[], bool] = lambda: False,
    ) -> StepResult:
        """Takes one step with learning rate ``lr``.

        Both callbacks are called after the backward pass; their results are shared with all ranks. By
        default neither a stop nor a checkpoint is requested.

        Raises:
            DataError: if no clip of the batch could be read.
            TrainingError: if the model rejects the batch.
            DeviceError: if the device fails or its memory is full.
        """
        if not self._has_started and self._world.is_main and self._micro_batches > 1:
            warn_of_micro_batches(self.model, self._micro_batches)
        self._has_started = True
        with device_errors(self._world.device, *self._remedies):
            return self._take(batch, lr, stop_requested, save_requested)

    def _take(
        self, batch: Batch, lr: float, stop_requested: Callable[[], bool], save_requested: Callable[[], bool]
    ) -> StepResult:
        set_learning_rate(self.optimizer, lr)
        self.optimizer.zero_grad()
        self._statistics.keep()
        try:
            batch = batch.to(self._world.device)
            if self._needs_rehearsal:
                with rehearsal(self.model, self._world.device):
                    self._accumulate_compiled(batch)
                self.optimizer.zero_grad()
                self._needs_rehearsal = False
            logits, loss = self._accumulate_compiled(batch)  # (B, K)
        except RuntimeError as error:
            if (known := as_user_error(error)) is not None:
                raise known from error
            raise
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        norm = to_full(norm)  # sharded gradients have a sharded norm
        result = self._combine(loss, logits, norm, batch, stop_requested(), save_requested())
        if result.updated:
            self._update(norm)
            return result
        self._statistics.restore()
        if self.scaler.is_enabled() and math.isfinite(result.loss):
            result = replace(result, overflow_scale=self.scaler.get_scale())
        # Otherwise the scaler would not unscale the gradients of the next step.
        self.scaler.update()
        return result

    def _accumulate_compiled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Accumulates as :meth:`_accumulate`; where compilation fails, without it from then on."""
        try:
            return self._accumulate(batch)
        except Exception as error:  # torch.compile raises errors of many libraries
            if self._compiled is None or not is_compile_error(error):
                raise
            self._compiled.use_original(error)
        self._compiled = None
        self.optimizer.zero_grad()
        return self._accumulate(batch)

    def _accumulate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Accumulates the gradients of all micro-batches; returns logits (B, K) and the batch's mean loss."""
        logits, mean_loss = [], torch.zeros((), device=self._world.device)
        for number, (micro_batch, fraction) in enumerate(_split(batch, self._micro_batches)):
            is_last = number == self._micro_batches - 1
            synchronization = nullcontext() if is_last else without_synchronization(self._network)
            with synchronization, self.precision.fast_attention():
                micro_logits = self._forward(micro_batch)
                loss = require_mean(self._loss(micro_logits, micro_batch.label)) * fraction
                self.scaler.scale(loss).backward()
            mean_loss = mean_loss + loss.detach()
            if fraction > 0:
                logits.append(micro_logits.detach())
        return torch.cat(logits), mean_loss

    def _forward(self, batch: Batch) -> Tensor:
        if batch.num_clips == 0:
            first = batch.broken[0]
            cause = DecodeError(first.path, first.reason, first.detail)
            raise DataError(f"no clip of a batch could be read; the first: {cause}")
        try:
            with self.precision.autocast():
                inputs = batch.inputs(self._normalization)
                return require_logits(self._network(inputs, batch.positions, batch.mask), inputs, self.model)
        except InputError as error:
            ids = ", ".join(map(str, batch.video_id.tolist()))
            raise TrainingError(
                f"the model rejects a batch: {error}; its videos (rows of the list): {ids}"
            ) from error

    def _combine(
        self, loss: Tensor, logits: Tensor, norm: Tensor, batch: Batch, stop: bool, save: bool
    ) -> StepResult:
        """Sums the metrics of all ranks; all ranks then decide alike whether the weights are updated."""
        clips = logits.shape[0]
        by_index = batch.label.ndim == 1
        loss = loss.to(widest_float(loss.device))
        hits = [hit.to(loss.dtype) for hit in topk_correct(logits, batch.label, (1, 5))] if by_index else []
        counts = torch.tensor([clips, len(batch.broken), stop, save], dtype=loss.dtype)
        of_host = upload(counts, loss.device)
        totals = self._world.all_reduce_sum(torch.cat([of_host, torch.stack([loss * clips, *hits])]))
        # All numbers come from the device in one transfer, the only time that the host waits in a step.
        total, broken, stops, saves, total_loss, *correct, norm_value = torch.cat(
            [totals, norm.detach().to(totals.dtype)[None]]
        ).tolist()
        return StepResult(
            loss=total_loss / total,
            clips=int(total),
            correct=Correct(*map(int, correct)) if by_index else None,
            grad_norm=norm_value,
            broken=int(broken),
            updated=math.isfinite(total_loss) and math.isfinite(norm_value),
            stop=stops > 0,
            save=saves > 0,
        )

    def _update(self, norm: Tensor) -> None:
        """Clips the gradients, whose norm is ``norm``, and updates weights, scaler and average."""
        if self._clip_value is not None:
            clip_grad_value_(self._parameters, self._clip_value)
        elif self._clip_norm is not None:
            clip_grads_with_norm_(self._parameters, self._clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()


def _split(batch: Batch, number: int) -> Iterator[tuple[Batch, float]]:
    """Yields ``number`` micro-batches, and for each its fraction of the batch's clips.

    If there are fewer clips than micro-batches, some have one clip and the fraction 0, because all ranks must
    have the same number of micro-batches.
    """
    size = batch.num_clips
    if number == 1 or size == 0:
        yield batch, 1.0
        return
    for index in range(number):
        first, last = size * index // number, size * (index + 1) // number
        start = min(first, size - 1)
        clips = slice(start, max(last, start + 1))
        yield batch.map_tensors(operator.itemgetter(clips)), (last - first) / size
