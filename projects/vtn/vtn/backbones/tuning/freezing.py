"""Freezing of a backbone or of its first blocks, and the choice between it and LoRA."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves, tree_map

from slowfast.errors import ModelError
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.tuning.blocks import parameter_depths
from vtn.backbones.tuning.lora import LoRA, add_lora, require_peft


def lora_of(config: BackboneConfig) -> LoRA | None:
    """Returns the settings of LoRA, None without it; called before a backbone is built, too.

    Raises:
        ModelError: for unknown fields of LoRA, LoRA together with ``frozen``, ``frozen_blocks`` or
            ``frozen_dtype``, and if ``peft`` is not installed.
    """
    if config.lora is None:
        return None
    if config.frozen or config.frozen_blocks:
        raise ModelError(
            "backbone.lora: freezes the backbone by itself; set backbone.frozen False and "
            "backbone.frozen_blocks 0"
        )
    if config.frozen_dtype:
        raise ModelError(
            f"backbone.frozen_dtype = {config.frozen_dtype!r}: has no effect with backbone.lora; set it to ''"
        )
    try:
        lora = LoRA(**config.lora)
    except TypeError as error:
        known = ", ".join(item.name for item in fields(LoRA))
        raise ModelError(f"backbone.lora = {dict(config.lora)}: {error}; its fields are {known}") from error
    require_peft(lora)
    return lora


def apply_tuning(network: nn.Module, config: BackboneConfig) -> list[str]:
    """Freezes parameters in place; returns the names of the modules that must stay in evaluation mode.

    Raises:
        ModelError: as :func:`lora_of`, and for more frozen blocks than the network has, and targets of LoRA
            that match no layer.
    """
    lora = lora_of(config)
    if lora is None:
        return freeze(network, config)
    add_lora(network, lora)
    if config.learning_norms:
        unfreeze_norms(network)
    return batch_norms(network)


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
        module = network.get_submodule(name)
        # A partial function of a bound method: deep copies of the network get one of their own module.
        module.forward = partial(_forward_in, dtype, module.forward)  # type: ignore[method-assign]


def autocast(device: str, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Returns an autocast context for a device type; an empty one without a dtype, and on ``meta``."""
    return nullcontext() if device == "meta" or dtype is None else torch.autocast(device, dtype)


def _forward_in(dtype: torch.dtype, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls ``forward`` under autocast; its output, or each tensor of a list, gets the dtype of the input."""
    # Blocks of networks with several pathways have a list of tensors as their argument.
    first = next(filter(_is_float, tree_leaves((args, kwargs))), None)
    if first is None:
        return forward(*args, **kwargs)
    with autocast(first.device.type, dtype):
        output = forward(*args, **kwargs)
    return tree_map(lambda value: value.to(first.dtype) if _is_float(value) else value, output)


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


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
