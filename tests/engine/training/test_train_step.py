"""One optimiser step: overflows of float16, and errors of a full device."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from slowfast.checkpoint.state import TrainingProgress
from slowfast.distributed.world import World
from slowfast.engine.run import run
from slowfast.engine.training.failure_budget import MAX_OVERFLOWS, FailureBudget
from slowfast.engine.training.train_step import TrainStep
from slowfast.errors import ConfigError, DeviceError, TrainingError
from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.losses import LOSS_REGISTRY, cross_entropy
from slowfast.models.precision import Precision
from slowfast.solver.ema import WeightAverage
from tests.support.tiny import CLASSES, Tiny, tiny_config
from tests.support.training.steps import random_batch, step_of


def float16_step(model: nn.Module, scale: float) -> TrainStep:
    average = WeightAverage(model, decay=0.5)
    step = step_of(model, precision=Precision("cpu", torch.float16), average=average)
    step.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return step


def budget() -> FailureBudget:
    return FailureBudget(max_broken=0, max_skipped=0, paths=["a.mp4", "b.mp4"], world=World())


def take_steps(step: TrainStep, failures: FailureBudget, count: int) -> None:
    for _ in range(count):
        failures.check(TrainingProgress(), random_batch(2), step(random_batch(2), 0.1))


def test_a_loss_of_each_clip_is_refused_with_the_remedy() -> None:
    step = step_of(Tiny(), loss=LOSS_REGISTRY.forms_of("cross_entropy").each)
    with pytest.raises(ConfigError, match=r"MODEL.LOSS_FUNC: must return one value.*\(2,\).*losses.mean\(\)"):
        step(random_batch(2), 0.1)


@pytest.mark.parametrize(
    ("result", "returned"),
    [(lambda loss: loss.item(), "a value of type float"), (lambda loss: None, "None"),
     (lambda loss: loss.detach(), "no gradient; compute it of the logits without `detach")],
)  # fmt: skip
def test_a_loss_without_a_gradient_is_refused(result: Callable[[Any], Any], returned: str) -> None:
    step = step_of(Tiny(), loss=lambda logits, labels: result(cross_entropy(logits, labels)))
    with pytest.raises(ConfigError, match=f"MODEL.LOSS_FUNC: must .*{returned}"):
        step(random_batch(2), 0.1)


@pytest.mark.parametrize("factor", [1e30, 1e38])
def test_a_norm_or_a_loss_that_is_infinite_changes_no_weight(factor: float) -> None:
    """The squares of gradients of 1e30 are infinite in float32, the gradients and the loss are not."""
    model = Tiny()
    before = copy.deepcopy(model.state_dict())
    step = step_of(model, loss=lambda logits, labels: 1e3 * factor * cross_entropy(logits, labels))
    result = step(random_batch(2), 0.1)
    assert not math.isfinite(result.grad_norm)
    assert math.isinf(result.loss) == (factor > 1e30)
    assert not result.updated
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Attending(nn.Module):
    """A classifier with one attention over frames, which notes how each call computes it.

    Args:
        recompute: whether activation checkpointing calls the attention again in the backward pass.
    """

    def __init__(self, *, recompute: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(3 * 8 * 8, 8), nn.Linear(8, CLASSES)
        self.recompute = recompute
        self.ways: list[str] = []

    def forward(self, frames: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        tokens = self.embed(frames.transpose(1, 2).flatten(2))  # (B, 3, T, H, W) -> (B, T, 8)
        if self.recompute:
            return self.head(checkpoint(self._attend, tokens, use_reentrant=False).mean(1))
        return self.head(self._attend(tokens).mean(1))

    def _attend(self, tokens: Tensor) -> Tensor:
        attended = F.scaled_dot_product_attention(*(tokens[:, None],) * 3)
        self.ways.append(type(attended.grad_fn).__name__)
        return attended[:, 0]


def test_attention_in_16_bits_has_fast_gradients_also_in_recomputed_layers() -> None:
    weights: list[list[Tensor]] = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = Attending(recompute=recompute)
        step_of(model, precision=Precision("cpu", torch.bfloat16))(random_batch(2), 0.1)
        assert model.ways == ["_ProductsBackward"]  # recomputation stops before the name is noted again
        weights.append(list(model.parameters()))
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)


class Normalized(Tiny):
    """A model with a batch norm, which ``is_fixed`` keeps in evaluation mode.

    It sees infinite values while ``overflows`` is set.
    """

    overflows = False

    def __init__(self, *, is_fixed: bool = False) -> None:
        super().__init__()
        self.norm, self.is_fixed = nn.BatchNorm1d(CLASSES), is_fixed

    def train(self, mode: bool = True) -> Normalized:
        super().train(mode)
        self.norm.train(mode and not self.is_fixed)
        return self

    def forward(self, *given: Any) -> Tensor:
        logits = super().forward(*given)
        return self.norm(logits * math.inf if self.overflows else logits)


@pytest.mark.parametrize(("is_fixed", "micro_batches"), [(False, 2), (True, 2), (False, 1)])
def test_micro_batches_of_batch_norms_are_a_warning(
    is_fixed: bool, micro_batches: int, caplog: pytest.LogCaptureFixture
) -> None:
    """They change the loss, except where the norms have fixed statistics."""
    torch.manual_seed(0)
    model, batch = Normalized(is_fixed=is_fixed).train(), random_batch(4)
    whole = step_of(model)(batch, 0.0)
    step = step_of(model, micro_batches=micro_batches)
    results = [step(batch, 0.0) for _ in range(2)]
    changes = micro_batches > 1 and not is_fixed
    assert (abs(results[0].loss - whole.loss) > 1e-3) == changes
    warnings = [text for text in caplog.messages if text.startswith("TRAIN.GRAD_ACCUM_STEPS is 2: the batch")]
    assert len(warnings) == changes


def test_an_overflow_of_float16_changes_neither_weights_nor_their_average() -> None:
    model = Tiny()
    before = [weight.detach().clone() for weight in model.parameters()]
    step = float16_step(model, scale=2.0**30)
    result = step(random_batch(2), 0.1)
    assert (result.updated, result.overflow_scale) == (False, 2.0**30)
    assert all(map(torch.equal, before, model.parameters()))
    assert step.average is not None
    assert step.average.updates == 0
    while not (result := step(random_batch(2), 0.1)).updated:  # the scaler halves its scale each time
        assert step.scaler.get_scale() > 1
    assert result.overflow_scale is None
    assert step.average.updates == 1


def test_skipped_steps_of_an_older_checkpoint_left_the_weights_as_they_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = budget()
    failures.load_state_dict({"num_skipped": 3, "first_skipped": "step 2"})
    failures.check_end(steps=9)
    assert "3 of 9 steps left the weights as they were" in caplog.text
    again = budget()
    again.load_state_dict(failures.state_dict())
    again.load_state_dict({})
    assert (again.num_skipped, again.first_skipped, again.num_unchanged) == (3, "step 2", 3)


def test_an_overflow_is_not_counted_among_skipped_steps() -> None:
    step, failures = float16_step(Tiny(), scale=2.0**30), budget()
    while not (result := step(random_batch(2), 0.1)).updated:
        failures.check(TrainingProgress(), random_batch(2), result)  # max_skipped is 0
    failures.check(TrainingProgress(), random_batch(2), result)
    assert (failures.num_skipped, failures.num_overflows) == (0, 0)


def test_overflows_in_many_steps_in_a_row_end_the_run() -> None:
    step, failures = float16_step(Tiny(), scale=2.0**100), budget()
    with pytest.raises(TrainingError, match=rf"in {MAX_OVERFLOWS} steps in a row.*TRAIN.PRECISION float32"):
        take_steps(step, failures, count=MAX_OVERFLOWS)


def test_gradients_that_are_not_finite_without_scaling_end_the_run() -> None:
    """A gradient of NaN with a finite loss: halving the scale never helps."""

    class Undifferentiable(Tiny):
        def forward(self, *given: Any) -> Tensor:
            return super().forward(*given) + (self.head.bias * 0).sqrt()  # the gradient is 0 / 0

    step, failures = float16_step(Undifferentiable(), scale=65536.0), budget()
    with pytest.raises(TrainingError, match="in 17 steps in a row, the last with a loss scale of 1:"):
        take_steps(step, failures, count=MAX_OVERFLOWS)


class _FullInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@MODEL_REGISTRY.register("FullTiny")
class FullTiny(Tiny):
    """Has no memory left in the part of a step, or in the evaluation, that ``full_in`` names."""

    full_in = "evaluation"

    def memory_remedies(self, *, training: bool) -> list[str]:
        return ["OWN.KEY 1"] if training else ["OWN.KEY 2"]

    def forward(self, *given: Any) -> Tensor:
        if self.full_in == ("forward" if self.training else "evaluation"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        logits = super().forward(*given)
        return _FullInBackward.apply(logits) if self.full_in == "backward" and self.training else logits


@pytest.mark.parametrize("place", ["forward", "backward", "optimizer"])
def test_a_step_without_memory_names_the_keys_that_need_less(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FullTiny()
    model.full_in = place
    step = step_of(model)
    if place == "optimizer":  # its state is allocated in the first step

        def allocate(*_: Any) -> None:
            raise torch.OutOfMemoryError

        monkeypatch.setattr(step.optimizer, "step", allocate)
    keys = r"GRAD_ACCUM_STEPS; OWN.KEY 1; TRAIN.PRECISION mixed; a smaller TRAIN.BATCH_SIZE"
    with pytest.raises(DeviceError, match=f"memory of the node is full; any of these needs less: .*{keys}"):
        step(random_batch(2), 0.1)


def test_an_evaluation_without_memory_names_the_keys_that_need_less(
    colour_videos: Path, tmp_path: Path
) -> None:
    options = ("MODEL.MODEL_NAME", "FullTiny", "TRAIN.MAX_STEPS", 6, "LOG_MODEL_INFO", False)
    with pytest.raises(DeviceError, match=r"OWN.KEY 2; TRAIN.BATCH_SIZE below 4; TRAIN.EVAL_STREAM_FRAMES"):
        run(tiny_config(colour_videos, tmp_path, *options))


def test_a_full_device_anywhere_else_in_a_run_is_an_error_with_words(
    colour_videos: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match="memory of the node is full"):
        run(tiny_config(colour_videos, tmp_path, "MODEL.MODEL_NAME", "FullTiny"))  # as it is measured


def test_a_skipped_step_leaves_the_statistics_of_batch_norms() -> None:
    """They would be NaN for good, and with them each evaluation, while the training looks well."""
    model = Normalized().train()
    average = WeightAverage(model, decay=0.5)
    step = step_of(model, average=average)
    assert step(random_batch(2), 0.1).updated
    before = {name: value.clone() for name, value in model.norm.state_dict().items() if "running" in name}
    model.overflows = True
    assert not step(random_batch(2), 0.1).updated
    for name, value in before.items():
        assert torch.equal(value, model.norm.state_dict()[name])
    model.overflows = False
    assert step(random_batch(2), 0.1).updated
    assert not torch.equal(before["running_mean"], model.norm.running_mean)
    assert all(weight.isfinite().all() for weight in average.state_dict()["weights"].values())
