"""Weights that a configuration needs: files on this machine, or addresses. Nothing is downloaded here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast.checkpoint.needed_weights import NeededWeights, existing_file
from slowfast.errors import ModelError
from vtn.backbones.base import BACKBONE_REGISTRY
from vtn.backbones.build import build_backbone, module_of
from vtn.backbones.clips.vjepa2_1 import SIZES, published_url
from vtn.backbones.published import cached_download
from vtn.config import backbone_name, built_model


def find_weights(cfg: CfgNode) -> list[NeededWeights]:
    """Returns the weights from which a model of this project starts.

    Raises:
        CheckpointError: for a file that the configuration names and that does not exist.
    """
    model = built_model(cfg)
    if not model:
        return []
    backbone, found = cfg.VTN.BACKBONE, []
    if backbone.PRETRAINED and backbone.CHECKPOINT:
        found.append(existing_file("VTN.BACKBONE.CHECKPOINT", backbone.CHECKPOINT))
    elif backbone.PRETRAINED and (weights := find_published(backbone_name(cfg))) is not None:
        needs_size = weights.address and not weights.path and not weights.num_bytes
        size = _estimate_bytes(backbone_name(cfg), backbone.ARGS) if needs_size else weights.num_bytes
        found.append(replace(weights, num_bytes=size))
    if model == "VTN" and cfg.VTN.LONGFORMER.CHECKPOINT:
        found.append(existing_file("VTN.LONGFORMER.CHECKPOINT", cfg.VTN.LONGFORMER.CHECKPOINT))
    return found


def find_published(name: str) -> NeededWeights | None:
    """Returns the published weights of a backbone; None for one that has none."""
    part = f"backbone {name}"
    if name in BACKBONE_REGISTRY:
        if name in SIZES:
            url = published_url(name)
            return NeededWeights(part, url, cached_download(url))
        has_weights = "pretrained" in inspect.signature(BACKBONE_REGISTRY.get(name)).parameters
        return NeededWeights(part) if has_weights else None
    module, rest = module_of(name)
    locate: Any = getattr(import_module(module), "locate_weights", None)
    if locate is None:
        return NeededWeights(part)
    try:
        return replace(locate(rest), part=part)
    except (KeyError, ValueError, RuntimeError, ModelError):
        return None  # an unknown name, which the construction of the model reports


def _estimate_bytes(name: str, options: Mapping[str, Any]) -> int:
    """Returns the bytes of a backbone's weights in float32; 0 where it cannot be built without memory."""
    try:
        with torch.device("meta"):
            network = build_backbone(name, pretrained=False, options=dict(options)).network
        return sum(4 * tensor.numel() for tensor in network.state_dict().values())
    except Exception:  # any code of a library; the size is only shown
        return 0
