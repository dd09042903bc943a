"""Freezing of a backbone or of its first blocks."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_flatten, tree_map

from slowfast.errors import ModelError
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.tuning.blocks import parameter_depths


def freeze(network: nn.Module, config: BackboneConfig) -> list[str]:
    """Disables the gradients of frozen parameters; returns the modules that must stay in evaluation mode.

    These are the frozen modules, by name, and modules without parameters before the first trainable one: in
    evaluation mode their batch norm statistics do not change and they apply no dropout. The same holds with
    ``learning_norms``, where only scales and offsets of norms are trained.

    Raises:
        ModelError: if the network has fewer blocks than ``frozen_blocks``.
    """
    if config.frozen:
        frozen, kept = {name for name, _ in network.named_parameters()}, [""]
    else:
        frozen = _first_blocks(network, config.frozen_blocks)
        kept = _modules_of(network, frozen)
        if frozen:
            kept += _between_frozen(network, frozen, kept)
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if config.learning_norms:
        unfreeze_norms(network)
    return kept


def unfreeze_norms(network: nn.Module) -> None:
    """Enables the gradients of the parameters of normalization layers."""
    for module in network.modules():
        if _is_norm(module):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)


def batch_norms(network: nn.Module) -> list[str]:
    """Returns the names of modules that keep running statistics of their inputs."""
    return [name for name, module in network.named_modules() if isinstance(module, _NormBase)]


def autocast_modules(network: nn.Module, names: list[str], dtype: torch.dtype) -> None:
    """Makes each of the named modules compute in ``dtype`` under autocast, whatever the caller's context is.

    The output of each module has the dtype of its input.
    """
    for name in names:
        module, casting = network.get_submodule(name), _Casting(dtype)
        module.register_forward_pre_hook(casting.enter, with_kwargs=True)
        module.register_forward_hook(casting.leave, always_call=True)


def autocast(device: str, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Returns an autocast context for a device type; an empty context on ``meta``, which computes nothing."""
    return nullcontext() if device == "meta" else torch.autocast(device, dtype)


class _Casting:
    """Forward hooks that enable autocast before a module computes and disable it afterwards."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        # Threads may share a model; a context of autocast belongs to the thread that has entered it.
        self._open: dict[int, list[tuple[Any, torch.dtype | None]]] = {}

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Enables autocast on the device of the first tensor argument and stores that tensor's dtype."""
        # Blocks of networks with several pathways have a list of tensors as their argument.
        values, _ = tree_flatten((args, kwargs))
        first = next((value for value in values if isinstance(value, Tensor)), None)
        context = autocast("cpu" if first is None else first.device.type, self.dtype)
        context.__enter__()
        entered = self._open.setdefault(threading.get_ident(), [])
        entered.append((context, None if first is None else first.dtype))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Disables autocast and returns the output, or each tensor of a list, in the dtype of the input."""
        entered = self._open[threading.get_ident()]
        context, dtype = entered.pop()
        if not entered:
            del self._open[threading.get_ident()]
        context.__exit__(None, None, None)

        def cast(value: Any) -> Any:
            is_float = isinstance(value, Tensor) and value.is_floating_point()
            return value.to(dtype) if is_float and dtype is not None else value

        return tree_map(cast, output)


def _first_blocks(network: nn.Module, blocks: int) -> set[str]:
    """Returns the names of the parameters in the stem and the first ``blocks`` blocks."""
    if blocks == 0:
        return set()
    depths = parameter_depths(network)
    present = max(depths.values(), default=0)
    if blocks > present:
        raise ModelError(
            f"VTN.BACKBONE.FROZEN_BLOCKS = {blocks}: must be at most {present}, the number of blocks of "
            f"{type(network).__name__}; to freeze all of it set VTN.BACKBONE.FROZEN True"
        )
    return {name for name, depth in depths.items() if depth <= blocks}


def _between_frozen(network: nn.Module, frozen: set[str], kept: list[str]) -> list[str]:
    """Returns the modules without parameters, such as dropout, before the first trainable parameter.

    They are those outside the modules ``kept``, in the order in which the network registers its modules.
    """
    found: list[str] = []
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        if not frozen.issuperset(f"{prefix}{own}" for own, _ in module.named_parameters(recurse=False)):
            break
        is_leaf = next(module.children(), None) is None and next(module.parameters(), None) is None
        is_kept = any(prefix.startswith(f"{each}.") for each in kept)
        if is_leaf and not is_kept and not isinstance(module, nn.Identity):
            found.append(name)
    return found


def _modules_of(network: nn.Module, names: set[str], prefix: str = "") -> list[str]:
    """Returns the outermost modules that have parameters, all of which are among ``names``.

    Lists of modules are not among them, since a list is not called itself.
    """
    found: list[str] = []
    for child, module in network.named_children():
        inside = [f"{prefix}{child}.{name}" for name, _ in module.named_parameters()]
        is_called = not isinstance(module, nn.ModuleList | nn.ModuleDict)
        if inside and is_called and names.issuperset(inside):
            found.append(f"{prefix}{child}")
        elif inside:
            found += _modules_of(module, names, f"{prefix}{child}.")
    return found


def _is_norm(module: nn.Module) -> bool:
    known = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
    return isinstance(module, known) or type(module).__name__.lower().endswith(
        ("layernorm", "rmsnorm", "norm2d")
    )
