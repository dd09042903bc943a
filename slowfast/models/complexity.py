"""How much a model computes: multiply-adds by module, with and without the products of attention.

B clips, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Macs:
    """Multiply-adds.

    Attributes:
        weights: of activations with weights: linear layers and convolutions.
        attention: of activations with activations: scores and sums of attention.
    """

    weights: int
    attention: int

    @property
    def total(self) -> int:
        return self.weights + self.attention


@dataclass(frozen=True)
class Complexity:
    """What one call of a model computes.

    Attributes:
        total: of the whole model.
        modules: dotted name of a module -> its own and those of the modules in it, where there are any.
    """

    total: Macs
    modules: Mapping[str, Macs]


def measure_complexity(model: nn.Module, *inputs: Any) -> Complexity:
    """Counts the multiply-adds of ``model(*inputs)`` in evaluation mode.

    A model and inputs on the ``meta`` device are counted in moments, whatever their size.
    """
    was_training = model.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(*inputs)
    model.train(was_training)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    modules = {
        name.removeprefix(f"{root}."): _macs(operations)
        for name, operations in counts.items()
        if name.startswith(f"{root}.") and any(operations.values())
    }
    # Lists of modules are not called; they have what is in them. From the last, so that inner ones are known.
    for name, module in reversed(list(model.named_modules())):
        children = [f"{name}.{child}" for child, _ in module.named_children()]
        inside = [modules[child] for child in children if child in modules]
        if name and name not in modules and inside:
            modules[name] = Macs(sum(part.weights for part in inside), sum(part.attention for part in inside))
    return Complexity(_macs(counts["Global"]), modules)


def clip_complexity(model: nn.Module, frames: int, size: int) -> Complexity:
    """The complexity of one clip (1, 3, T, H, W) of square pictures; the model is left on ``meta``."""
    return measure_complexity(model.to("meta"), torch.empty(1, 3, frames, size, size, device="meta"))


def count_parameters(model: nn.Module) -> int:
    """All numbers that a model learned or could learn, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


def _macs(operations: Mapping[Any, int]) -> Macs:
    attention = sum(flops for operation, flops in operations.items() if _is_attention(str(operation)))
    return Macs((sum(operations.values()) - attention) // 2, attention // 2)


def _is_attention(operation: str) -> bool:
    """Batched products and fused attention have no weights among their factors in the models here."""
    return "bmm" in operation or "scaled_dot_product" in operation or "attention" in operation
