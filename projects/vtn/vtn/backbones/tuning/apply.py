"""The selection of what learns in a backbone: freezing, trainable norms and LoRA, as its settings say."""

from __future__ import annotations

from dataclasses import fields

from torch import nn

from slowfast.errors import ModelError
from vtn.arguments.groups import BackboneConfig
from vtn.backbones.tuning.freezing import batch_norms, freeze, let_norms_learn
from vtn.backbones.tuning.lora import LoRA, add_lora


def apply_tuning(network: nn.Module, config: BackboneConfig) -> list[str]:
    """Freezes what does not learn, in place; returns the names of modules to keep in evaluation mode.

    Raises:
        ModelError: for unknown fields of LoRA, for LoRA together with ``frozen`` or ``frozen_blocks``, for
            fewer blocks than are to be frozen, and for layers that LoRA does not find.
    """
    if config.lora is None:
        return freeze(
            network,
            everything=config.frozen,
            blocks=config.frozen_blocks,
            learning_norms=config.learning_norms,
        )
    if config.frozen or config.frozen_blocks:
        raise ModelError(
            "backbone.lora: freezes the backbone by itself; leave backbone.frozen False and "
            "backbone.frozen_blocks 0"
        )
    try:
        lora = LoRA(**config.lora)
    except TypeError as error:
        known = ", ".join(item.name for item in fields(LoRA))
        raise ModelError(f"backbone.lora = {dict(config.lora)}: {error}; its fields are {known}") from error
    add_lora(network, lora)
    if config.learning_norms:
        let_norms_learn(network)
    return batch_norms(network)
