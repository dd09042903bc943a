"""The identity of a backbone: arguments of its constructor, and its description in files of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slowfast.models.clip_grid import ClipGrid
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.frames.token_reader import token_grid
from vtn.backbones.tuning.lora import LoRA


def constructor_options(config: BackboneConfig) -> dict[str, Any]:
    """Returns the keyword arguments of the backbone's constructor; rates of 0 are left out."""
    rates = {"drop_rate": config.drop_rate, "drop_path_rate": config.drop_path_rate}
    return {**{name: rate for name, rate in rates.items() if rate}, **config.args}


def describe_backbone(
    config: BackboneConfig, options: Mapping[str, Any], clip_grid: ClipGrid | None, reading: int = 1
) -> dict[str, str]:
    """Returns what determines the backbone's features besides its weights, as written to feature files.

    Args:
        options: keyword arguments of the backbone's constructor.
        clip_grid: clips and time steps of a clip encoder.
        reading: see :class:`vtn.backbones.base.Backbone`; not written where it is 1, as in earlier files.
    """
    name = config.name if isinstance(config.name, str) else type(config.name).__qualname__
    described = {**options, **({"pooling": config.pooling} if config.pooling else {})}
    identity = {"backbone": name, "backbone options": str(described or "none")}
    grid = token_grid(config)
    if not grid.is_pooled:
        identity["tokens"] = grid.describe()
    if clip_grid is not None:
        identity["clips"] = clip_grid.describe()
    if reading > 1:
        identity["reading of images"] = f"version {reading}"
    if config.lora is not None:
        lora = LoRA(**config.lora)
        identity["lora"] = f"rank {lora.rank}, alpha {lora.alpha:g}"
    return identity
