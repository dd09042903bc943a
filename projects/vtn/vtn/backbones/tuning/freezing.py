"""Keeping a backbone, or a part of it, as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from slowfast.errors import ModelError
from vtn.backbones.tuning.depth import parameter_depths


def freeze(
    network: nn.Module, *, everything: bool, blocks: int = 0, learning_norms: bool = False
) -> list[str]:
    """Gives what is frozen no gradients, and returns the names of modules to be kept in evaluation mode.

    These are the frozen parts, so that the statistics of their batch norms stay and nothing is dropped in
    them; with ``learning_norms`` too, whose scales and offsets then learn and nothing else.

    Args:
        everything: freeze all parameters.
        blocks: freeze the stem and so many blocks after it.
        learning_norms: leave the parameters of normalisation layers free.

    Raises:
        ModelError: where there are fewer blocks.
    """
    frozen = (
        {name for name, _ in network.named_parameters()} if everything else _first_blocks(network, blocks)
    )
    kept = [""] if everything else _modules_of(network, frozen)
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if learning_norms:
        let_norms_learn(network)
    return kept


def let_norms_learn(network: nn.Module) -> None:
    """Gives the parameters of normalisation layers gradients."""
    for module in network.modules():
        if _is_norm(module):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)


def batch_norms(network: nn.Module) -> list[str]:
    """The names of modules that keep statistics of what passes through them."""
    return [name for name, module in network.named_modules() if isinstance(module, _NormBase)]


def compute_in(network: nn.Module, names: list[str], dtype: torch.dtype) -> None:
    """Lets each of the named modules compute in ``dtype`` under autocast, whatever is around it.

    What they return has the type of what they were given.
    """
    for name in names:
        module, casting = network.get_submodule(name), _Casting(dtype)
        module.register_forward_pre_hook(casting.enter, with_kwargs=True)
        module.register_forward_hook(casting.leave, always_call=True)


def autocast(device: str, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Computation in ``dtype`` on a kind of device; on ``meta``, which computes nothing, no change."""
    return nullcontext() if device == "meta" else torch.autocast(device, dtype)


class _Casting:
    """Switches autocast on before a module computes, and back after it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._open: list[tuple[Any, torch.dtype | None]] = []

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        context = autocast("cpu" if given is None else given.device.type, self.dtype)
        context.__enter__()
        self._open.append((context, None if given is None else given.dtype))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        context, dtype = self._open.pop()
        context.__exit__(None, None, None)
        if isinstance(output, Tensor) and output.is_floating_point() and dtype is not None:
            return output.to(dtype)
        return output


def _first_blocks(network: nn.Module, blocks: int) -> set[str]:
    if blocks == 0:
        return set()
    depths = parameter_depths(network)
    present = max(depths.values(), default=0)
    if blocks > present:
        raise ModelError(
            f"VTN.BACKBONE.FROZEN_BLOCKS = {blocks}: the backbone {type(network).__name__} has {present}; "
            "use fewer, or VTN.BACKBONE.FROZEN True for all of it"
        )
    return {name for name, depth in depths.items() if depth <= blocks}


def _modules_of(network: nn.Module, names: set[str], prefix: str = "") -> list[str]:
    """The names of the outermost modules that have parameters, all of them among ``names``."""
    found: list[str] = []
    for child, module in network.named_children():
        inside = [f"{prefix}{child}.{name}" for name, _ in module.named_parameters()]
        if inside and names.issuperset(inside):
            found.append(f"{prefix}{child}")
        elif inside:
            found += _modules_of(module, names, f"{prefix}{child}.")
    return found


def _is_norm(module: nn.Module) -> bool:
    known = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
    return isinstance(module, known) or type(module).__name__.lower().endswith(
        ("layernorm", "rmsnorm", "norm2d")
    )
