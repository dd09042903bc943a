"""Backbones from timm: image models without their classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from slowfast.checkpoint.needed_weights import NeededWeights
from slowfast.errors import ModelError, did_you_mean
from vtn.backbones.base import ARGS_REMEDY, BACKBONE_REGISTRY, Backbone, interpolation_of
from vtn.backbones.maps.timm_map import timm_map
from vtn.backbones.published import by_hand, cached_download, cached_on_hub, download_path, fetch

_POOL = {"cls": "token", "mean": "avg", "map": "map"}
# Prefixes of timm for models that timm.list_models() does not contain: on a hub, or in a local folder.
_ON_HUB = ("hf-hub:", "hf_hub:")
_UNLISTED = (*_ON_HUB, "local-dir:")
_HUB = "https://huggingface.co"
# Files of weights in the order in which timm looks for them.
_HUB_FILES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)
_RESIZE_HINT = (
    "set VTN.BACKBONE.ARGS.img_size to the crop size (position embeddings are resized to it), or "
    "VTN.BACKBONE.ARGS.dynamic_img_size True (for any size) where the model has it"
)


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns timm's model of that name; see :func:`vtn.backbones.build.build_backbone`.

    Raises:
        ModelError: for an unknown name, an option or pooling that the model does not have, weights that
            cannot be downloaded.
    """
    import timm

    if not name.startswith(_UNLISTED) and not timm.is_model(name):
        known = [*BACKBONE_REGISTRY, *timm.list_models()]
        hint = did_you_mean(name, known, otherwise="slowfast analyze backbones lists the names")
        raise ModelError(
            f"backbone {name!r}: must be a name in BACKBONE_REGISTRY or in timm.list_models(); {hint}"
        )
    # If the user has put a file of weights into the download folder, timm reads it instead of downloading.
    local_file = _local_file(name)
    has_file = pretrained and local_file.is_file()
    # Some timm versions would read it as the .npz file that the authors of the model have published.
    file = {"file": str(local_file), "custom_load": False}
    overlay = {"pretrained_cfg_overlay": file} if has_file else {}

    def create(pretrained: bool) -> nn.Module:
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=0, **overlay, **options)
        except (TypeError, AssertionError) as error:
            raise ModelError(f"backbone {name!r} with {dict(options)}: {error}; {ARGS_REMEDY}") from error

    network = (
        fetch(
            lambda: create(True),
            backbone=name,
            remedy=_remedy(name, local_file),
            hub_name="" if has_file else _hub_name(name),
        )
        if pretrained
        else create(False)
    )
    if pooling:
        _choose_pooling(network, name, pooling)
    return _backbone(network, options)


def locate_weights(name: str) -> NeededWeights:
    """Returns the published weights of the model, and a copy of the user, of torch or of the hub's client."""
    if (local := _local_file(name)).is_file():
        return NeededWeights(name, path=str(local))
    hub_name = _hub_name(name)
    published = _published(name)
    url = published.url or ""
    if url and (path := cached_download(url)):
        return NeededWeights(name, url, path)
    if hub_name:
        files = (published.hf_hub_filename,) if published.hf_hub_filename else _HUB_FILES
        return NeededWeights(name, f"{_HUB}/{hub_name}", cached_on_hub(hub_name, files))
    folder = name.removeprefix("local-dir:") if name.startswith("local-dir:") else ""
    return NeededWeights(name, url, folder)


def _choose_pooling(network: nn.Module, name: str, pooling: str) -> None:
    """Changes the pooling of a network in place; raises ``ModelError`` if timm does not offer it."""
    try:
        if pooling == "cls" and not getattr(network, "has_class_token", True):
            raise ValueError("it has no class token")  # timm before 1.0.31 would return the first patch
        network.reset_classifier(0, _POOL[pooling])
    except (AssertionError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"VTN.BACKBONE.POOLING = {pooling!r}: backbone {name} does not support it "
            f"({error or 'timm rejects it'}); use another one, or '' for the model's default"
        ) from error


def _backbone(network: nn.Module, options: Mapping[str, Any]) -> Backbone:
    """Returns the network with the image format that timm's configuration of it states.

    Raises:
        ModelError: for a network that takes images of one size which is not square.
    """
    from timm.data import resolve_model_data_config

    published: Mapping[str, Any] = network.pretrained_cfg
    data = resolve_model_data_config(network)
    patches = getattr(network, "patch_embed", None)
    strict = getattr(patches, "strict_img_size", None)
    fixed = bool(published.get("fixed_input_size", False) if strict is None else strict)
    built_for = options.get("img_size") or getattr(patches, "img_size", None) or data["input_size"][1:]
    # Convolutional networks, and networks that pad their images, accept any size.
    step = 1
    if strict is False and not getattr(patches, "dynamic_img_pad", False):
        step = int(patches.patch_size[0])  # type: ignore[union-attr]
    elif patches is None:
        step = _patch_side(network)
    height, width = (built_for, built_for) if isinstance(built_for, int) else built_for
    if fixed and height != width:
        raise ModelError(
            f"backbone {type(network).__name__} for images of {height}×{width} pixels: must be square, since "
            "frames are cropped to squares; set VTN.BACKBONE.ARGS.img_size to one number"
        )
    classifier = published.get("classifier") or ()
    return Backbone(
        network,
        getattr(network, "head_hidden_size", network.num_features),
        data["mean"],
        data["std"],
        image_size=int(height),
        fixed_size=fixed,
        size_multiple=step,
        resize_hint=_RESIZE_HINT if fixed else "",
        interpolation=interpolation_of(data["interpolation"]),
        classifier=(classifier,) if isinstance(classifier, str) else tuple(classifier),
        feature_map=timm_map,
    )


def _patch_side(network: nn.Module) -> int:
    """Returns the side of the patches of a network without ``patch_embed``; 1 if it has none elsewhere."""
    encoder = getattr(network, "encoder", None)
    places = getattr(network, "embeds", None), getattr(encoder, "patch_embed", None)
    sizes = (getattr(place, "patch_size", None) for place in places)
    return next((int(size if isinstance(size, int) else size[0]) for size in sizes if size), 1)


def _hub_name(name: str) -> str:
    """Returns the name on the Hugging Face hub of a model's weights; empty where timm takes others."""
    if name.startswith(_ON_HUB):
        return name.partition(":")[2]
    return _published(name).hf_hub_id or ""


def _published(name: str) -> Any:
    """Returns what timm knows about the weights of a model of its list; nothing about others."""
    from timm.models import PretrainedCfg, get_pretrained_cfg

    return (None if name.startswith(_UNLISTED) else get_pretrained_cfg(name)) or PretrainedCfg()


def _local_file(name: str) -> Path:
    """Returns the path at which manually downloaded weights are searched."""
    return download_path(f"{name.replace(':', '_').replace('/', '_')}.safetensors")


def _remedy(name: str, local_file: Path) -> str:
    """Returns the instructions for a manual download."""
    published = _published(name)
    if name.startswith(_UNLISTED):
        source = f"model.safetensors of {name}"
    elif published.hf_hub_id:
        source = f"{_HUB}/{published.hf_hub_id}/resolve/main/model.safetensors"
    elif published.url:
        source = published.url
    else:
        return (
            "timm publishes no weights for this model; set VTN.BACKBONE.PRETRAINED False, or "
            "VTN.BACKBONE.CHECKPOINT to a file"
        )
    return by_hand(source, local_file)
