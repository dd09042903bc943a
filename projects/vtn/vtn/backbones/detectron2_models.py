"""Backbones from detectron2, which is imported only here: one of the feature maps, averaged over the image.

Shapes: N images, C channels, h w height and width of a feature map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ModelError
from vtn.backbones.base import Backbone
from vtn.backbones.maps.feature_map import FeatureMap
from vtn.backbones.published import fetch


class Detectron2Backbone(nn.Module):
    """A detectron2 backbone whose output is the average of one feature map.

    Args:
        model: maps images to a dictionary of feature maps (N, C, h, w).
        feature: name of the feature map to use.
        blue_first: whether ``model`` expects the channels in the order blue, green, red.
    """

    def __init__(self, model: nn.Module, feature: str, *, blue_first: bool) -> None:
        super().__init__()
        self.model = model
        self.feature = feature
        self.blue_first = blue_first

    @property
    def wrapped(self) -> nn.Module:
        """The inner network; its parameter names are the names in published weights."""
        return self.model

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) with channels red, green, blue to features (N, C)."""
        return self._map(images).mean((2, 3))  # (N, C, h, w) -> (N, C)

    def _map(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) with channels red, green, blue to the feature map (N, C, h, w)."""
        if self.blue_first:
            images = images.flip(1)
        multiple = self.model.size_divisibility or 1
        height, width = images.shape[-2:]
        # Pad at the bottom and on the right, as detectron2 does.
        images = F.pad(images, (0, -width % multiple, 0, -height % multiple))
        return self.model(images)[self.feature]


def detectron2_map(network: Any, images: Tensor, stage: int) -> FeatureMap:
    """Returns the feature map; see :data:`vtn.backbones.maps.feature_map.MapFunction`.

    Raises:
        ModelError: for a stage, since ``feature`` chooses the map.
    """
    if stage:
        raise ModelError(
            f"VTN.BACKBONE.STAGE = {stage}: must be 0 for detectron2's backbones; choose a feature map by "
            "VTN.BACKBONE.ARGS.feature"
        )
    return FeatureMap(network._map(images).permute(0, 2, 3, 1))


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns the backbone of a detectron2 configuration; see :func:`vtn.backbones.build.build_backbone`.

    Args:
        name: a YAML file, or a name in detectron2's model zoo.
        options: ``feature``, the name of a feature map (default: the coarsest one), and ``opts``, a list
            ``[KEY, VALUE, …]`` of changes to detectron2's configuration.

    Raises:
        ModelError: if detectron2 is not installed or fails to import, the name, an option or the pooling is
            invalid, or weights cannot be downloaded.
    """
    cfg = _load_config(name, options.get("opts", ()))
    unknown = set(options) - {"feature", "opts"}
    if unknown or pooling not in ("", "mean"):
        raise ModelError(
            f"backbone detectron2:{name}: VTN.BACKBONE.ARGS must have the keys feature and opts only, and "
            "VTN.BACKBONE.POOLING must be 'mean' or ''; got "
            f"{', '.join(sorted(unknown)) or f'VTN.BACKBONE.POOLING {pooling}'}"
        )
    if pretrained:
        model = fetch(
            lambda: _with_weights(name, cfg),
            backbone=f"detectron2:{name}",
            remedy=f"The weights are at {cfg.MODEL.WEIGHTS}. Download the file on a machine with internet "
            "access, and set VTN.BACKBONE.ARGS.opts \"['MODEL.WEIGHTS', 'FILE']\". VTN.BACKBONE.PRETRAINED "
            "False starts from random weights.",
        )
    else:
        model = _import("modeling", name).build_backbone(cfg)
    shapes = model.output_shape()
    feature = options.get("feature") or max(shapes, key=lambda known: shapes[known].stride or 0)
    if feature not in shapes:
        raise ModelError(
            f"backbone detectron2:{name}: VTN.BACKBONE.ARGS.feature = {feature!r}: must be one of "
            f"{', '.join(shapes)}"
        )
    blue_first = cfg.INPUT.FORMAT == "BGR"
    order = slice(None, None, -1 if blue_first else 1)
    return Backbone(
        Detectron2Backbone(model, feature, blue_first=blue_first),
        shapes[feature].channels,
        _fractions(cfg.MODEL.PIXEL_MEAN[order]),
        _fractions(cfg.MODEL.PIXEL_STD[order]),
        feature_map=detectron2_map,
    )


def _load_config(name: str, changes: Sequence[Any]) -> CfgNode:
    """Returns the configuration of that name with the changes ``[KEY, VALUE, …]``, for a model on the CPU.

    Raises:
        ModelError: if detectron2 is not installed or fails to import, the name or a key is unknown, or a
            file has tags of Python.
    """
    config, model_zoo = _import("config", name).get_cfg(), _import("model_zoo", name)
    try:
        if Path(name).is_file():
            config.merge_from_file(name, allow_unsafe=False)  # detectron2's own files may run expressions
        else:
            config.merge_from_file(model_zoo.get_config_file(name))
        config.merge_from_list(list(changes))
    except yaml.YAMLError as error:
        raise ModelError(
            f"backbone detectron2:{name}: {error}; must be plain YAML: a tag such as !!python/object can run "
            "any code, so write its value instead"
        ) from error
    except (RuntimeError, KeyError, AssertionError, OSError) as error:
        raise ModelError(
            f"backbone detectron2:{name}: {error}; must be a YAML file or a name in detectron2's model zoo"
        ) from error
    config.MODEL.DEVICE = "cpu"  # the default is a GPU, which may be missing; the model is moved later
    return config


def _import(module: str, name: str) -> Any:
    """Imports a module of detectron2 for the backbone of that name.

    Raises:
        ModelError: if detectron2 is not installed or fails to import.
    """
    try:
        return import_module(f"detectron2.{module}")
    except ImportError as error:
        raise ModelError(f"backbone detectron2:{name}: {_import_problem(error)}") from error


def _import_problem(error: ImportError) -> str:
    """Returns a message with a remedy that distinguishes a missing package from one that fails to import."""
    instructions = "https://detectron2.readthedocs.io/tutorials/install.html"
    if error.name == "detectron2" and isinstance(error, ModuleNotFoundError):
        return f"detectron2 is not installed ({error}); see {instructions}, or use another backbone"
    problem = f"detectron2 is installed but fails to import ({type(error).__name__}: {error})"
    if error.name == "pkg_resources":
        return f"{problem}; run pip install 'setuptools<81': later versions have no pkg_resources"
    if error.name and error.name.partition(".")[0] != "detectron2":
        return f"{problem}; install the package {error.name}"
    return f"{problem}; build detectron2 again for the installed torch, see {instructions}"


def _with_weights(name: str, config: CfgNode) -> nn.Module:
    """Returns the backbone of the complete detector, with the weights loaded as detectron2 loads them."""
    detector = _import("modeling", name).build_model(config)
    _import("checkpoint", name).DetectionCheckpointer(detector).load(config.MODEL.WEIGHTS)
    return detector.backbone


def _fractions(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns three values of the range 0 … 255 as values of the range 0 … 1."""
    red, green, blue = (value / 255 for value in values)
    return red, green, blue
