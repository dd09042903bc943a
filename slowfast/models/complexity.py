"""Complexity of models: multiply-adds per module, those of attention products apart.

B clips, T frames, H W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


@dataclass(frozen=True)
class Macs:
    """Numbers of multiply-adds.

    Attributes:
        weights: products of activations with weights: linear layers and convolutions.
        attention: products of activations with activations: scores and weighted sums of attention.
    """

    weights: int
    attention: int

    @property
    def total(self) -> int:
        """All multiply-adds."""
        return self.weights + self.attention


@dataclass(frozen=True)
class Complexity:
    """The multiply-adds of one call of a model.

    Attributes:
        total: multiply-adds of the whole model.
        modules: dotted name of a module -> multiply-adds of the module, including the modules in it; modules
            without any are left out.
    """

    total: Macs
    modules: Mapping[str, Macs]


def measure_complexity(model: nn.Module, *inputs: Any) -> Complexity:
    """Counts the multiply-adds of ``model(*inputs)`` in evaluation mode.

    Counting a model and inputs on the ``meta`` device is fast, whatever their size.
    """
    was_training = model.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_FUSED_ON_CPU) as counter:
            model.eval()(*inputs)
    finally:
        model.train(was_training)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    modules = {
        name.removeprefix(f"{root}."): _macs(operations)
        for name, operations in counts.items()
        if name.startswith(f"{root}.") and any(operations.values())
    }
    # Lists of modules are not called: they get the sum of their children. In reverse order, children first.
    for name, module in reversed(list(model.named_modules())):
        names = [f"{name}.{child}" for child, _ in module.named_children()]
        inside = [modules[child] for child in names if child in modules]
        if name and name not in modules and inside:
            modules[name] = Macs(
                sum(child.weights for child in inside), sum(child.attention for child in inside)
            )
    return Complexity(_macs(counts["Global"]), modules)


def count_gmacs(model: nn.Module, clip: tuple[int, ...]) -> float:
    """Returns the multiply-adds for one clip, in 10⁹, by running the model on zeros of shape (1, *clip).

    Args:
        clip: (3, T, H, W), or (T, F) or (T, M, F) for features.
    """
    zeros = torch.zeros((1, *clip), device=next(model.parameters()).device)
    return measure_complexity(model, zeros).total.total / 1e9


def clip_complexity(model: nn.Module, frames: int, size: int) -> Complexity:
    """Returns the complexity of one clip (1, 3, T, H, W) of square frames; the model stays on ``meta``.

    Args:
        frames: T.
        size: H and W in pixels.
    """
    return measure_complexity(model.to("meta"), torch.empty(1, 3, frames, size, size, device="meta"))


def count_parameters(model: nn.Module) -> int:
    """Returns the number of all parameters of a model, including frozen ones."""
    return sum(parameter.numel() for parameter in model.parameters())


def describe_parameters(model: nn.Module) -> str:
    """Returns the number of a model's parameters, and how many of them are trained, as text."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return f"{count_parameters(model):,} parameters, {trained:,} of them trained"


def _attention_flops(queries: torch.Size, keys: torch.Size, values: torch.Size, *_: Any, **__: Any) -> int:
    """Returns the floating-point operations of fused attention from the shapes of its arguments.

    torch's own ``sdpa_flop`` is wrapped already, so that a counter cannot take it.
    """
    return sdpa_flop_count(queries, keys, values)


# torch counts the fused attention of GPUs and of the meta device, but not that of the CPU.
_FUSED_ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def _macs(operations: Mapping[Any, int]) -> Macs:
    # Batched products and fused attention multiply activations.
    of_activations = (flops for name, flops in operations.items() if re.search("bmm|attention", str(name)))
    attention = sum(of_activations)
    return Macs((sum(operations.values()) - attention) // 2, attention // 2)
