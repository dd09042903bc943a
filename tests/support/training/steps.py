"""Batches of random clips, and optimiser steps on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from slowfast.datasets.clip import ClipBatch, Normalization
from slowfast.distributed.world import World
from slowfast.engine.training.train_step import TrainStep
from slowfast.models.losses import cross_entropy
from slowfast.models.precision import Precision
from slowfast.solver.ema import WeightAverage
from tests.support.tiny import CLASSES


def random_batch(
    count: int, *, num_frames: int = 2, size: int = 8, num_classes: int = CLASSES, masked: bool = False
) -> ClipBatch:
    """Returns clips of random pixels; ``masked`` leaves out the last third of the first clip."""
    frames = torch.randint(0, 255, (count, 3, num_frames, size, size), dtype=torch.uint8)
    mask = torch.ones(count, num_frames, dtype=torch.bool)
    mask[0, 2 * num_frames // 3 :] = False
    numbers = torch.arange(count)
    return ClipBatch(
        frames,
        positions=torch.arange(num_frames).repeat(count, 1),
        mask=mask if masked else None,
        label=numbers % num_classes,
        video_id=numbers,
        view_id=numbers,
    )


def step_of(model: nn.Module, optimizer: Optimizer | None = None, **options: Any) -> TrainStep:
    """Returns the step of a model in float32 on its device, by default plain descent."""
    optimizer = optimizer or torch.optim.SGD([*model.named_parameters()], lr=0.1)
    for group in optimizer.param_groups:
        group["lr_scale"] = 1.0
    device = next(model.parameters()).device
    plain = {"loss": cross_entropy, "world": World(device=device), "precision": Precision(device.type)}
    half = (0.5,) * 3
    return TrainStep(model, optimizer, normalization=Normalization(half, half), **{**plain, **options})


def full_step_of(model: nn.Module, **options: Any) -> TrainStep:
    """Returns a step of AdamW with clipped gradients and averaged weights."""
    optimizer = torch.optim.AdamW([*model.named_parameters()], lr=0.1, fused=True)
    average = WeightAverage(model, decay=0.5)
    return step_of(model, optimizer, **{"clip_norm": 1.0, "average": average, **options})
