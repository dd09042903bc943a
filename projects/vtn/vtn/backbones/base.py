"""The description of a backbone: the width of its features and the image format that it requires.

Shapes: N images, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from slowfast.errors import ModelError
from slowfast.registry import Registry
from vtn.backbones.maps.feature_map import MapFunction, own_map
from vtn.backbones.maps.timm_map import is_timm_model, timm_map

BACKBONE_REGISTRY: Registry[Callable[..., nn.Module]] = Registry("backbone", "VTN.BACKBONE.NAME")
"""Functions or classes that return a backbone from the keyword arguments of ``VTN.BACKBONE.ARGS``.

The returned module must have an attribute ``feature_dim`` (or ``num_features``), the width F. It may define
``frame_mean``, ``frame_std`` and any attribute of :class:`Backbone`, which describe the images that it
requires. It may also have a method ``feature_map(images)``, from which several tokens per frame are made, see
:func:`vtn.backbones.maps.feature_map.own_map`. If a function has a parameter ``pretrained``, it gets True
when published weights are to be loaded.
"""

Triple = tuple[float, float, float]
DEFAULT_MEAN: Triple = (0.45, 0.45, 0.45)
DEFAULT_STD: Triple = (0.225, 0.225, 0.225)
ARGS_REMEDY = 'see VTN.BACKBONE.ARGS; VTN.BACKBONE.ARGS "{}" removes the arguments of the configuration'
"""End of the message about arguments that a backbone does not accept."""


@dataclass(frozen=True)
class ClipDescription:
    """The clips of a backbone that maps clips (N, 3, t, H, W) to features per time step.

    Attributes:
        frames: t, frames of a clip, a multiple of ``tubelet``.
        tubelet: frames per time step.
        fps: frames per second of the clips that the weights were trained on.
        accepts_shorter: whether clips may have fewer frames, a multiple of ``tubelet``. The features are then
            those of a clip of t frames in which no token of the missing frames takes part.
    """

    frames: int
    tubelet: int
    fps: float
    accepts_shorter: bool = True


@dataclass(frozen=True)
class Backbone:
    """A network and the image format that it requires.

    Attributes:
        network: maps (N, 3, H, W) float to (N, F).
        feature_dim: F.
        mean, std: normalization per channel, of pixels scaled to 0 … 1.
        image_size: height and width in pixels of the training images; None if unknown.
        fixed_size: whether the network accepts images of ``image_size`` only.
        size_multiple: height and width must be multiples of this number of pixels.
        resize_hint: setting that enables other image sizes; used in error messages.
        interpolation: method by which training images were resized, ``bilinear`` or ``bicubic``.
        classifier: names of the classifier's layers in the published weights; these layers are not loaded.
        feature_map: computes the features by place, for several tokens per frame; None: not possible.
        clip: the clips that the network encodes; None: it encodes single images. A clip encoder maps clips
            (N, 3, t, H, W) to (N, s, F), the mean over the places of each of s time steps, and its feature
            map has places (N, s, h, w, F).
        reading: version of the code that turns pixels into features of this kind of network. It is raised
            when a mistake in it is mended, so that features of the earlier code are refused.
    """

    network: nn.Module
    feature_dim: int
    mean: Triple = DEFAULT_MEAN
    std: Triple = DEFAULT_STD
    image_size: int | None = None
    fixed_size: bool = False
    size_multiple: int = 1
    resize_hint: str = ""
    interpolation: str = "bilinear"
    classifier: tuple[str, ...] = ()
    feature_map: MapFunction | None = None
    clip: ClipDescription | None = None
    reading: int = 1

    def size_problem(self, height: int, width: int) -> str:
        """Returns an error message with a remedy if images of that size are not accepted, else ``""``."""
        if self.fixed_size and (height, width) != (self.image_size, self.image_size):
            hint = f", or {self.resize_hint}" if self.resize_hint else ""
            return (
                f"images have {height}×{width} pixels: must be {self.image_size}×{self.image_size} for this "
                f"backbone; use that crop size{hint}"
            )
        if height % self.size_multiple or width % self.size_multiple:
            return (
                f"images have {height}×{width} pixels: must be multiples of {self.size_multiple}, the patch "
                "size of this backbone"
            )
        return ""


def backbone_from_attributes(network: nn.Module, name: str) -> Backbone:
    """Returns the description of a network that its own attributes contain.

    Raises:
        ModelError: for another object than a network, and for attributes that are missing or wrong.
    """
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"backbone {name}: must be a torch.nn.Module, and is a {type(network).__name__}; return one from "
            "the function that is registered"
        )
    width = getattr(network, "feature_dim", None) or getattr(network, "num_features", None)
    if not isinstance(width, int):
        raise ModelError(
            f"backbone {name}: the width of its features is unknown; give the module an integer attribute "
            "feature_dim"
        )
    names = ("image_size", "fixed_size", "size_multiple", "resize_hint", "interpolation", "clip")
    values: dict[str, Any] = {field: getattr(network, field) for field in names if hasattr(network, field)}
    for field in ("mean", "std"):
        values[field] = getattr(network, f"frame_{field}", getattr(Backbone, field))
        if len(np.atleast_1d(values[field])) != 3:
            raise ModelError(f"backbone {name}: frame_{field} = {values[field]}: must be three numbers")
    if hasattr(network, "feature_map"):
        values["feature_map"] = own_map
    elif is_timm_model(network):
        values["feature_map"] = timm_map
    return Backbone(network, width, **values)


def interpolation_of(name: str) -> str:
    """Returns ``bilinear`` or ``bicubic``, whichever is closer to the interpolation of that name."""
    return "bicubic" if str(name) in ("bicubic", "lanczos", "random") else "bilinear"
