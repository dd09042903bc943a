"""LoRA: low-rank adapters beside the linear layers of a frozen backbone, from the package ``peft``.

A linear layer computes ``W x + (alpha / rank) · B A x``, where only A and B are trained (Hu et al. 2021,
arXiv 2106.09685, section 4.1, equation 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from slowfast.errors import ModelError
from slowfast.log import get_logger
from vtn.arguments.groups import Settings, setting

logger = get_logger(__name__)

_ADAPTER = ".lora_"


@dataclass(frozen=True)
class LoRA(Settings):
    """The settings of the adapters.

    Attributes:
        rank: rank of the product B A, 1 or more.
        alpha: the product is scaled by ``alpha / rank``.
        dropout: probability in training for the input of the adapters.
        targets: name suffixes of the layers that get adapters. Empty: all linear layers except those of
            ``nn.MultiheadAttention``, which uses their weights without calling them.

    Raises:
        ModelError: for values of another kind or out of range.
    """

    group = "backbone.lora"
    rank: int
    alpha: float = setting(16.0, "VTN.BACKBONE.LORA.ALPHA")
    dropout: float = setting(0.0, "VTN.BACKBONE.LORA.DROPOUT")
    targets: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ModelError(f"backbone.lora.rank = {self.rank}: must be 1 or more")
        are_names = isinstance(self.targets, Sequence) and all(isinstance(name, str) for name in self.targets)
        if isinstance(self.targets, str) or not are_names:
            raise ModelError(f"backbone.lora.targets = {self.targets!r}: must be a list of names of layers")


def require_peft(lora: LoRA) -> None:
    """Raises ``ModelError`` if the package ``peft`` is not installed."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"VTN.BACKBONE.LORA.RANK = {lora.rank}: requires the package peft ({error}); "
            "run pip install 'slowfast-vtn[lora]'"
        ) from error


def add_lora(network: nn.Module, lora: LoRA) -> None:
    """Adds adapters to a network in place and disables the gradients of all other parameters.

    Adapters are initialized such that the output of the network does not change. The network also loads
    weights that were saved without adapters.

    Raises:
        ModelError: if no layer matches the targets.
    """
    from peft import LoraConfig, inject_adapter_in_model

    # These layers are never called, so that adapters would get no gradient.
    attention = [
        name for name, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)
    ]
    if uncalled := [f"{name}.out_proj" for name in attention]:
        logger.warning(
            "LoRA adds no adapters to the attention of %d layer(s), since torch's nn.MultiheadAttention does "
            "not call its linear layers; timm's version of the network does not have this restriction",
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
            f"VTN.BACKBONE.LORA.TARGETS = {list(lora.targets)}: {error}; must match linear layers, for "
            f"example {', '.join(linear[:6]) or '(this network has none)'}"
        ) from error
    network.register_load_state_dict_pre_hook(_accept_plain_weights)


def check_adapters(network: nn.Module, unused: set[str]) -> None:
    """Warns of adapters of layers that the network does not call although it uses their weights.

    timm's EVA and BEiT compute queries, keys and values in this way. Such adapters have no influence.

    Args:
        unused: names of the parameters without influence on the features.

    Raises:
        ModelError: if all adapters are such.
    """
    names = [name for name, _ in network.named_parameters()]
    adapted = {name.partition(_ADAPTER)[0] for name in names if _ADAPTER in name}
    active = {name.partition(_ADAPTER)[0] for name in names if _ADAPTER in name and name not in unused}
    # Layers that the features do not need at all, such as those of later stages, are left out.
    bypassed = [layer for layer in sorted(adapted - active) if f"{layer}.base_layer.weight" not in unused]
    if not bypassed:
        return
    if not active:
        raise ModelError(
            "VTN.BACKBONE.LORA.TARGETS: must name layers that the network calls; it uses the weights of "
            f"{len(bypassed)} of them, such as {bypassed[0]}, without calling them, so that adapters have no "
            "effect"
        )
    logger.warning(
        "LoRA has no effect on %d of %d layers, such as %s: the network uses their weights without calling "
        "them; their adapters are not trained",
        len(bypassed), len(adapted), bypassed[0],
    )  # fmt: skip


def _accept_plain_weights(network: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Renames weights that were saved without adapters; the adapters then keep their initial values."""
    own = network.state_dict()
    adapted = [name.removesuffix(".base_layer.weight") for name in own if name.endswith(".base_layer.weight")]
    if any(f"{prefix}{name}.base_layer.weight" in state for name in adapted):
        return
    for name in adapted:
        for kind in ("weight", "bias"):
            if (plain := f"{prefix}{name}.{kind}") in state:
                state[f"{prefix}{name}.base_layer.{kind}"] = state.pop(plain)
    for name, tensor in own.items():
        if _ADAPTER in name:
            state.setdefault(prefix + name, tensor)
