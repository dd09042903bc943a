"""A training step, and the weights of the backbone that it changes."""

from __future__ import annotations

import torch
from torch import Tensor

from vtn.frame_model import FrameModel


def train_a_step(model: FrameModel, frames: Tensor) -> set[str]:
    """Takes one step; returns the names of the backbone's parameters and buffers that it changed."""
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model.train()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    model(frames).square().sum().backward()
    optimizer.step()
    after = model.backbone.state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}
