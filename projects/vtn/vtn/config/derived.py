"""Values that follow from several keys of VTN."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from slowfast.registry import registry_of
from vtn.config.requirements import MODEL_NAMES, windows_of

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

BACKBONE_OF_ARCH: Mapping[str, str] = MappingProxyType(
    {
        "VIT": "vit_base_patch16_224",
        "VIT_B": "vit_base_patch16_224",
        "DEIT_B": "deit_base_patch16_224",
        "DEIT_TI": "deit_tiny_patch16_224",
        "R50": "resnet50",
        "R101": "resnet101",
    }
)
"""``MODEL.ARCH``, in any letter case, -> the backbone that it means where ``VTN.BACKBONE.NAME`` is empty."""


def built_model(cfg: CfgNode) -> str:
    """Returns which of :data:`MODEL_NAMES` the model is, or the user's class that is built as it is.

    Returns an empty string for other models, and for subclasses that read the configuration by themselves.
    """
    name = cfg.MODEL.MODEL_NAME
    # A user's class has imported the registry, and torch with it; the check must not.
    if name in MODEL_NAMES or "slowfast.models.build" not in sys.modules:
        return name if name in MODEL_NAMES else ""
    registry = registry_of("MODEL.MODEL_NAME")
    model = registry.get(name) if name in registry else object
    for base in getattr(model, "__mro__", ()):
        if "from_config" in vars(base):
            return ""
        if base.__module__.startswith("vtn.") and base.__name__ in MODEL_NAMES:
            return str(base.__name__)
    return ""


def backbone_name(cfg: CfgNode) -> str:
    """Returns ``VTN.BACKBONE.NAME``, or where it is empty the backbone that ``MODEL.ARCH`` means.

    Returns an empty string where neither names a backbone; :func:`check_vtn_config` reports that.
    """
    return cfg.VTN.BACKBONE.NAME or BACKBONE_OF_ARCH.get(cfg.MODEL.ARCH.upper(), "")


def lora_options(cfg: CfgNode) -> dict[str, Any] | None:
    """Returns the arguments of ``vtn.backbones.tuning.lora.LoRA``; None where LoRA is off."""
    node = cfg.VTN.BACKBONE.LORA
    if node.RANK == 0:
        return None
    return {"rank": node.RANK, "alpha": node.ALPHA, "dropout": node.DROPOUT, "targets": list(node.TARGETS)}


def attention_windows(cfg: CfgNode) -> list[int]:
    """Returns the two-sided attention window of each layer in frames; one value applies to all layers."""
    return windows_of(cfg.VTN.LONGFORMER.ATTENTION_WINDOW, cfg.VTN.LONGFORMER.NUM_HIDDEN_LAYERS)
