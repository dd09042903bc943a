"""Values that follow from several keys of VTN."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vtn.config.requirements import windows_of

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
