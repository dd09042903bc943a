"""Training steps against the same formulas in float64: loss, weights, clipping, update and moving average.

The batches have other numbers of clips than the micro-batches divide, and masks with holes.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.config import get_default_config
from slowfast.datasets.clip import ClipBatch, Normalization
from slowfast.distributed.world import World
from slowfast.engine.training.train_step import TrainStep
from slowfast.models.objective.training_loss import build_training_loss
from slowfast.models.precision import Precision
from slowfast.solver import build_optimizer
from slowfast.solver.ema import WeightAverage

K, T = 4, 3
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
LR, DECAY, AVERAGE = 0.05, 0.04, 0.9
BETAS = (0.8, 0.95)
LABELS = np.array([0] * 8 + [1] * 4 + [2] * 3 + [3])


class Network(nn.Module):
    """A small network with matrices, vectors and a table of positions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, K)
        self.places = nn.Embedding(T, 8)

    def forward(self, frames: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Maps frames (B, 3, T, H, W), positions and mask (B, T) to logits (B, K)."""
        states = self.first(frames.mean(dim=(-2, -1)).transpose(1, 2)) + self.places(positions)
        return self.last(torch.tanh(self.norm(states) * mask[..., None]).mean(dim=1))


def make_batch(size: int, mixed: bool) -> ClipBatch:
    labels = torch.randn(size, K).softmax(dim=1) if mixed else torch.randint(K, (size,))
    mask = torch.rand(size, T) < 0.7
    mask[:, 0] = True
    frames = torch.randint(0, 256, (size, 3, T, 2, 2), dtype=torch.uint8)
    index = torch.arange(size)
    return ClipBatch(
        frames,
        positions=torch.arange(T).repeat(size, 1),
        mask=mask,
        label=labels,
        video_id=index,
        view_id=torch.zeros_like(index),
    )


def reference_optimizer(method: str, network: nn.Module) -> torch.optim.Optimizer:
    """Returns torch's own optimiser, with weight decay for matrices alone."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    if method == "sgd":
        return torch.optim.SGD(groups, lr=LR, momentum=0.9, nesterov=True, foreach=False)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[method]
    return kind(groups, lr=LR, betas=BETAS, foreach=False)


def weights_of_classes() -> Tensor:
    counts = np.bincount(LABELS)
    return torch.from_numpy(len(LABELS) / (K * counts))


def reference_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: ClipBatch, clip: dict[str, Any]
) -> tuple[float, float]:
    """Takes one step in float64; returns the loss, and the norm of the gradient before clipping."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1, 1) for values in (MEAN, STD))
    frames = (batch.frames.double() / 255 - mean) / std
    labels = F.one_hot(batch.label, K).double() if batch.label.ndim == 1 else batch.label.double()
    scores = network(frames, batch.positions, batch.mask).log_softmax(dim=1)
    loss = ((labels @ weights_of_classes()) * -(labels * scores).sum(dim=1)).mean()
    optimizer.zero_grad()
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    for gradient in gradients:
        if clip.get("clip_norm"):
            gradient.mul_(min(1.0, clip["clip_norm"] / norm.item()))
        if clip.get("clip_value"):
            gradient.clamp_(-clip["clip_value"], clip["clip_value"])
    optimizer.step()
    return loss.item(), norm.item()


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}, {"clip_value": 0.02}])
@pytest.mark.parametrize("method", ["sgd", "adam", "adamw"])
def test_steps_follow_the_formulas(method: str, clip: dict[str, Any], micro_batches: int) -> None:
    mixed = micro_batches == 3
    cfg = get_default_config()
    cfg.MODEL.NUM_CLASSES, cfg.LOSS.CLASS_WEIGHTS = K, "balanced"
    cfg.MODEL.LOSS_FUNC = "soft_cross_entropy" if mixed else "cross_entropy"
    solver = cfg.SOLVER
    solver.OPTIMIZING_METHOD, solver.WEIGHT_DECAY, solver.ZERO_WD_1D_PARAM = method, DECAY, True
    solver.MOMENTUM, solver.NESTEROV, solver.BETAS = 0.9, True, list(BETAS)

    network = Network()
    exact = copy.deepcopy(network).double()
    average = WeightAverage(network, decay=AVERAGE, warmup=True)
    expected_average = {name: value.clone() for name, value in exact.state_dict().items()}
    step = TrainStep(
        network,
        build_optimizer(cfg, network),
        loss=build_training_loss(cfg, LABELS),
        world=World(),
        precision=Precision(),
        normalization=Normalization(MEAN, STD),
        micro_batches=micro_batches,
        average=average,
        **clip,
    )
    optimizer = reference_optimizer(method, exact)
    for number in range(6):
        batch, lr = make_batch(7 if number % 2 else 5, mixed), LR / (1 + number)
        for group in optimizer.param_groups:
            group["lr"] = lr
        found = step(batch, lr)
        expected = reference_step(exact, optimizer, batch, clip)
        assert (found.loss, found.grad_norm) == pytest.approx(expected, rel=1e-4)
        decay = min(AVERAGE, 1 - (1 + number) ** (-2 / 3))
        for name, value in exact.state_dict().items():
            expected_average[name] = decay * expected_average[name] + (1 - decay) * value
    # Adam divides by the size of gradients, so that the rounding of small ones counts.
    tolerance = 1e-5 if method == "sgd" else 1e-3
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value.double(), exact.state_dict()[name], rtol=0, atol=tolerance)
        averaged = average.state_dict()["weights"][name].double()
        torch.testing.assert_close(averaged, expected_average[name], rtol=0, atol=tolerance)
