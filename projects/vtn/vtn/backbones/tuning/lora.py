"""LoRA: a frozen backbone learns through small matrices beside its linear layers, by the package ``peft``.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from slowfast.errors import ModelError
from slowfast.log import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True)
class LoRA:
    """How a backbone is adapted.

    Attributes:
        rank: of the matrices that are added.
        alpha: they are scaled by ``alpha / rank``.
        dropout: of what goes into them.
        targets: ends of the names of the layers that get them; empty: all linear layers but those of
            ``nn.MultiheadAttention``, which multiplies by their weights without calling them.
    """

    rank: int
    alpha: float = 16.0
    dropout: float = 0.0
    targets: Sequence[str] = ()


def add_lora(network: nn.Module, lora: LoRA) -> None:
    """Adds the matrices to a network, in place; they learn, and nothing else of it does.

    As initialised they change nothing. The network also loads weights that were saved without them.

    Raises:
        ModelError: where ``peft`` is not installed, or no layer has such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ModelError(
            f"VTN.BACKBONE.LORA.RANK = {lora.rank}: needs the package peft ({error}); "
            "pip install 'slowfast-vtn[lora]'"
        ) from error
    uncalled = _uncalled_linear_layers(network)
    if uncalled:
        logger.warning(
            "LoRA leaves out the attention of %d layer(s), as torch's nn.MultiheadAttention does not call "
            "its linear layers; timm's networks of the same name have layers that learn",
            len(uncalled),
        )
    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name not in uncalled
    ]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or linear,
        exclude_modules=uncalled or None,
    )
    try:
        inject_adapter_in_model(config, network)
    except ValueError as error:
        raise ModelError(
            f"VTN.BACKBONE.LORA.TARGETS = {list(lora.targets)}: {error}; its linear layers are for instance "
            f"{', '.join(linear[:6]) or 'none'}"
        ) from error
    network.register_load_state_dict_pre_hook(_accept_plain_weights)


def merge_lora(network: nn.Module) -> nn.Module:
    """Adds the matrices to the weights that they lie beside, in place, and returns the network.

    It then has its own names again and computes the same as before, up to rounding.
    """
    from peft.tuners.lora import LoraLayer

    for path, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()  # type: ignore[operator]
            parent, _, child = path.rpartition(".")
            setattr(network.get_submodule(parent), child, module.base_layer)
    return network


def _uncalled_linear_layers(network: nn.Module) -> list[str]:
    """Names of linear layers of which the weights alone are used: what lies beside them would not learn."""
    return [
        f"{name}.out_proj"
        for name, module in network.named_modules()
        if isinstance(module, nn.MultiheadAttention)
    ]


def _accept_plain_weights(network: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Renames weights of a network without adapters, which then stay as initialised."""
    own = network.state_dict()
    adapted = [name.removesuffix(".base_layer.weight") for name in own if name.endswith(".base_layer.weight")]
    if any(f"{prefix}{name}.base_layer.weight" in state for name in adapted):
        return
    for name in adapted:
        for part in ("weight", "bias"):
            if (plain := f"{prefix}{name}.{part}") in state:
                state[f"{prefix}{name}.base_layer.{part}"] = state.pop(plain)
    for name, tensor in own.items():
        if ".lora_" in name:
            state.setdefault(prefix + name, tensor)
