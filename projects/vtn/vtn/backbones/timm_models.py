"""Backbones from timm: its image models, without their classifier.

N images, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slowfast.errors import ModelError, did_you_mean
from vtn.backbones.base import BACKBONE_REGISTRY, Backbone, interpolation_of
from vtn.backbones.published import fetch

_POOL = {"cls": "token", "mean": "avg", "map": "map"}
# timm's own prefixes: models of its hub, and folders of files.
_UNLISTED = ("hf-hub:", "hf_hub:", "local-dir:")
# Models whose images must have the size that they were built for say so in one of these ways.
_RESIZE_HINT = (
    "set VTN.BACKBONE.ARGS.img_size to the crop size (position embeddings are resized to it), or "
    "VTN.BACKBONE.ARGS.dynamic_img_size True (for any size) where the model has it"
)


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns timm's model of that name; see :func:`vtn.backbones.build.build_backbone`.

    Raises:
        ModelError: for an unknown name, options or pooling that it does not take, weights that cannot be had.
    """
    import timm

    if not name.startswith(_UNLISTED) and not timm.is_model(name):
        known = [*BACKBONE_REGISTRY, *timm.list_models()]
        hint = did_you_mean(
            name, {n: n for n in known}, otherwise="python tools/analyze.py backbones has the names"
        )
        raise ModelError(f"backbone {name!r}: neither BACKBONE_REGISTRY nor timm has it; {hint}")
    # Without a network the weights may have been put where the others lie.
    placed = _place(name)
    overlay = {"pretrained_cfg_overlay": {"file": str(placed)}} if pretrained and placed.is_file() else {}

    def create(pretrained: bool) -> nn.Module:
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=0, **overlay, **options)
        except (TypeError, AssertionError) as error:
            raise ModelError(
                f"backbone {name!r} with {dict(options)}: {error}; see VTN.BACKBONE.ARGS"
            ) from error

    network = (
        fetch(lambda: create(True), backbone=name, remedy=_remedy(name, placed))
        if pretrained
        else create(False)
    )
    if pooling:
        _choose_pooling(network, name, pooling)
    return _describe(network, options)


def _choose_pooling(network: nn.Module, name: str, pooling: str) -> None:
    try:
        network.reset_classifier(0, _POOL[pooling])
    except (AssertionError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"VTN.BACKBONE.POOLING = {pooling!r}: backbone {name} does not have it "
            f"({error or 'timm refuses it'}); use another one, or '' for the model's own"
        ) from error


def _describe(network: nn.Module, options: Mapping[str, Any]) -> Backbone:
    from timm.data import resolve_model_data_config

    published: Mapping[str, Any] = network.pretrained_cfg
    data = resolve_model_data_config(network)
    patches = getattr(network, "patch_embed", None)
    strict = getattr(patches, "strict_img_size", None)
    fixed = bool(published.get("fixed_input_size", False) if strict is None else strict)
    built_for = options.get("img_size") or getattr(patches, "img_size", None) or data["input_size"][1:]
    # Convolutional networks, and those that pad, take any size.
    step = 1
    if strict is False and not getattr(patches, "dynamic_img_pad", False):
        step = int(patches.patch_size[0])  # type: ignore[union-attr]
    classifier = published.get("classifier") or ()
    return Backbone(
        network,
        getattr(network, "head_hidden_size", network.num_features),
        data["mean"],
        data["std"],
        image_size=int(built_for if isinstance(built_for, int) else built_for[0]),
        fixed_size=fixed,
        size_multiple=step,
        resize_hint=_RESIZE_HINT if fixed else "",
        interpolation=interpolation_of(data["interpolation"]),
        classifier=(classifier,) if isinstance(classifier, str) else tuple(classifier),
    )


def _place(name: str) -> Path:
    """Where weights that were fetched by hand are looked for."""
    file = name.replace(":", "_").replace("/", "_")
    return Path(torch.hub.get_dir()) / "checkpoints" / f"{file}.safetensors"


def _remedy(name: str, placed: Path) -> str:
    from timm.models import get_pretrained_cfg

    published = None if name.startswith(_UNLISTED) else get_pretrained_cfg(name)
    if published is not None and published.hf_hub_id:
        source = f"https://huggingface.co/{published.hf_hub_id}/resolve/main/model.safetensors"
    elif published is not None and published.url:
        source = published.url
    elif published is not None:
        return (
            "timm publishes no weights for it; set VTN.BACKBONE.PRETRAINED False, or VTN.BACKBONE.CHECKPOINT"
        )
    else:
        source = f"model.safetensors of {name}"
    return (
        f"On a machine with a network get\n  {source}\nand place it here as\n  {placed}\nor anywhere, and "
        "set VTN.BACKBONE.CHECKPOINT to it. VTN.BACKBONE.PRETRAINED False starts from random weights."
    )
