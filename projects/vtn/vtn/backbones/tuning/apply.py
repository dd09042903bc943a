"""Application of the tuning settings to a backbone: freezing, trainable normalization layers, LoRA."""

from __future__ import annotations

from dataclasses import fields

from torch import nn

from slowfast.errors import ModelError
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.tuning.freezing import batch_norms, freeze, unfreeze_norms
from vtn.backbones.tuning.lora import LoRA, add_lora


def apply_tuning(network: nn.Module, config: BackboneConfig) -> list[str]:
    """Freezes parameters in place; returns the names of the modules that must stay in evaluation mode.

    Raises:
        ModelError: for unknown fields of LoRA, LoRA together with ``frozen``, ``frozen_blocks`` or
            ``frozen_dtype``, more frozen blocks than the network has, and targets of LoRA that match no
            layer.
    """
    if config.lora is None:
        return freeze(network, config)
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
    add_lora(network, lora)
    if config.learning_norms:
        unfreeze_norms(network)
    return batch_norms(network)
