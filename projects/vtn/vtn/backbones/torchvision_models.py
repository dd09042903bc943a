"""Backbones from torchvision: image classification models without their last linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from slowfast.checkpoint.needed_weights import NeededWeights
from slowfast.errors import ModelError, did_you_mean
from vtn.backbones.base import ARGS_REMEDY, DEFAULT_MEAN, DEFAULT_STD, Backbone, interpolation_of
from vtn.backbones.maps.torchvision_map import torchvision_map
from vtn.backbones.published import by_hand, cached_download, download_path, fetch

_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
"""Models with further classifiers for training -> the classifiers' names. They are built without these."""


def names() -> list[str]:
    """Returns the names of all models, without the prefix ``torchvision:``."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns torchvision's model of that name; see :func:`vtn.backbones.build.build_backbone`.

    Raises:
        ModelError: for an unknown name, an option that the model does not have, any pooling, weights that
            cannot be downloaded.
    """
    from torchvision.models import get_model, get_model_weights

    if name not in names():
        hint = did_you_mean(name, names(), otherwise="torchvision.models.list_models() returns the names")
        raise ModelError(f"backbone torchvision:{name}: must be an image model of torchvision; {hint}")
    if pooling:
        raise ModelError(
            f"VTN.BACKBONE.POOLING = {pooling!r}: must be '' for torchvision's models, whose pooling is fixed"
        )
    published = get_model_weights(name).DEFAULT
    if name in _AUXILIARY:
        options = {"aux_logits": False, **options}

    def create(weights: Any) -> nn.Module:
        try:
            return get_model(name, weights=weights, **options)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"backbone torchvision:{name} with {dict(options)}: {error}; {ARGS_REMEDY}"
            ) from error

    network = (
        fetch(
            lambda: create(published),
            backbone=f"torchvision:{name}",
            remedy=by_hand(published.url, download_path(published.url)),
        )
        if pretrained
        else create(None)
    )
    width, classifier = _remove_classifier(network, name)
    transform = published.transforms()
    image_size = getattr(network, "image_size", None)  # only vision transformers have this attribute
    return Backbone(
        network,
        width,
        tuple(getattr(transform, "mean", DEFAULT_MEAN)),
        tuple(getattr(transform, "std", DEFAULT_STD)),
        image_size=image_size or transform.crop_size[0],
        fixed_size=image_size is not None,
        resize_hint="another backbone: torchvision's transformers cannot resize their position embeddings",
        interpolation=interpolation_of(transform.interpolation.value),
        classifier=(classifier, *_AUXILIARY.get(name, ())),
        feature_map=torchvision_map,
    )


def locate_weights(name: str) -> NeededWeights:
    """Returns the published weights of the model, and torch's copy of them."""
    from torchvision.models import get_model_weights

    published = get_model_weights(name).DEFAULT
    size = int(published.meta.get("_file_size", 0) * 2**20)  # of mebibytes
    return NeededWeights(name, published.url, cached_download(published.url), size)


def _remove_classifier(network: nn.Module, name: str) -> tuple[int, str]:
    """Replaces the last linear layer by the identity; returns the layer's input width and its name.

    Raises:
        ModelError: if the network does not end in one linear layer, or has classifiers for training only.
    """
    if getattr(network, "aux_logits", False):
        raise ModelError(
            f"backbone torchvision:{name} with aux_logits True: returns the outputs of several classifiers; "
            "remove VTN.BACKBONE.ARGS.aux_logits"
        )
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ModelError(
            f"backbone torchvision:{name}: must end in one linear layer; for this model register a module in "
            "BACKBONE_REGISTRY whose forward returns features"
        )
    parent, _, child = linear[-1].rpartition(".")
    module = network.get_submodule(parent)
    width = getattr(module, child).in_features
    setattr(module, child, nn.Identity())
    return width, linear[-1]
