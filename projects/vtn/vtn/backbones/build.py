"""Construction of backbones by name: networks that map images (N, 3, H, W) to features (N, F).

A name is searched in ``BACKBONE_REGISTRY`` first, then among timm's models; the prefixes ``hf:``,
``torchvision:``, ``detectron2:`` and ``pytorchvideo:`` (clip encoders) select another source.

Shapes: N images, F width of a feature.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from slowfast.errors import ModelError, place_of
from slowfast.exit_status import check_packages
from slowfast.registry import import_project_modules
from vtn.backbones.base import ARGS_REMEDY, BACKBONE_REGISTRY, Backbone, backbone_from_attributes
from vtn.backbones.clips import vjepa2_1  # noqa: F401  (registers its encoders)
from vtn.backbones.efficientnet_lite0 import efficientnet_lite0_imagenet
from vtn.backbones.shallow_conv import ShallowConv
from vtn.backbones.weight_files import load_backbone_weights

__all__ = ["BACKBONE_REGISTRY", "Backbone", "ShallowConv", "build_backbone", "efficientnet_lite0_imagenet"]

_SOURCES = {
    "timm": "vtn.backbones.timm_models",
    "hf": "vtn.backbones.hugging_face.build",
    "torchvision": "vtn.backbones.torchvision_models",
    "detectron2": "vtn.backbones.detectron2_models",
    "pytorchvideo": "vtn.backbones.clips.pytorchvideo_clips",
}
"""Prefix of a name -> module with a function ``build(name, *, pretrained, options, pooling) -> Backbone``."""


def build_backbone(
    backbone: str | nn.Module,
    *,
    pretrained: bool,
    options: Mapping[str, Any],
    pooling: str = "",
    checkpoint: str | Path = "",
) -> Backbone:
    """Returns the backbone of that name, or the given network, with its description.

    Args:
        backbone: a name, or a network with an attribute ``feature_dim``.
        pretrained: load the weights of ``checkpoint`` if it is given, else the published weights of a named
            backbone. A network that is passed as such keeps its own weights.
        options: keyword arguments of the model's constructor.
        pooling: ``cls``, ``mean`` or ``map``; empty: the model's default.
        checkpoint: a file of weights, see :func:`vtn.backbones.weight_files.load_backbone_weights`.

    Raises:
        ModelError: for an unknown name, an option or pooling that the model does not have, weights that
            cannot be downloaded, an unknown width.
        CheckpointError: for a file of weights that does not fit.
        InstallationError: if a library is older than this package needs.
    """
    fetch = pretrained and not checkpoint
    if isinstance(backbone, nn.Module):
        built = backbone_from_attributes(backbone, type(backbone).__name__)
    elif _is_registered(backbone):
        built = _build_registered(backbone, fetch, options, pooling)
    else:
        check_packages()  # other versions keep a model's parts elsewhere: SigLIP's head would not be found
        module, name = module_of(backbone)
        built = import_module(module).build(name, pretrained=fetch, options=options, pooling=pooling)
    if pretrained and checkpoint:
        load_backbone_weights(built, checkpoint)
    return built


def module_of(backbone: str) -> tuple[str, str]:
    """Returns the module that builds a backbone which is not registered, and its name there.

    >>> module_of("torchvision:resnet18")
    ('vtn.backbones.torchvision_models', 'resnet18')
    """
    source, colon, name = backbone.partition(":")
    return (_SOURCES[source], name) if colon and source in _SOURCES else (_SOURCES["timm"], backbone)


def _is_registered(name: str) -> bool:
    """Returns whether the registry has the name, and imports installed projects first if it does not."""
    if name not in BACKBONE_REGISTRY:
        import_project_modules()
    return name in BACKBONE_REGISTRY


def _build_registered(name: str, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    if pooling:
        raise ModelError(
            f"VTN.BACKBONE.POOLING = {pooling!r}: must be '' for {name}, since registered backbones define "
            "their own pooling"
        )
    factory = BACKBONE_REGISTRY.get(name)
    weights = {"pretrained": pretrained} if "pretrained" in inspect.signature(factory).parameters else {}
    try:
        network = factory(**{**weights, **options})
    except TypeError as error:
        place = place_of(error.__traceback__ and error.__traceback__.tb_next)
        raise ModelError(f"backbone {name!r} with {dict(options)}: {error}{place}; {ARGS_REMEDY}") from error
    return backbone_from_attributes(network, name)
