"""Backbones: networks that map images (N, 3, H, W) to features (N, F), by name.

A name is looked up in ``BACKBONE_REGISTRY`` first, then among timm's models. N images, F width of a feature.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from slowfast.errors import InputError, ModelError
from slowfast.registry import Registry

BACKBONE_REGISTRY: Registry[Callable[..., nn.Module]] = Registry("backbone", "VTN.BACKBONE.NAME")
"""Functions or classes that return a backbone from the keyword arguments of ``VTN.BACKBONE.ARGS``.

The module they return says its width F by an attribute ``feature_dim`` (or ``num_features``), and may say by
``frame_mean`` and ``frame_std`` how its images are to be normalised.
"""

Triple = tuple[float, float, float]
DEFAULT_MEAN: Triple = (0.45, 0.45, 0.45)
DEFAULT_STD: Triple = (0.225, 0.225, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A network with what the model has to know of it.

    Attributes:
        network: maps (N, 3, H, W) float to (N, F).
        feature_dim: F.
        mean, std: the normalisation that its weights want, of pixels scaled to 0 … 1.
    """

    network: nn.Module
    feature_dim: int
    mean: Triple = DEFAULT_MEAN
    std: Triple = DEFAULT_STD


def build_backbone(backbone: str | nn.Module, *, pretrained: bool, options: Mapping[str, Any]) -> Backbone:
    """Returns the backbone of that name, or the given network, with its width and normalisation.

    Args:
        pretrained: start from timm's published weights. Networks of the registry and given ones bring theirs.
        options: keyword arguments of the model's constructor.

    Raises:
        ModelError: for an unknown name, options it does not take, weights that cannot be had, no known width.
    """
    if isinstance(backbone, nn.Module):
        return _described(backbone, type(backbone).__name__)
    if backbone in BACKBONE_REGISTRY:
        try:
            return _described(BACKBONE_REGISTRY.get(backbone)(**options), backbone)
        except TypeError as error:
            raise ModelError(
                f"backbone {backbone!r} with {dict(options)}: {error}; see VTN.BACKBONE.ARGS"
            ) from error
    return _build_timm(backbone, pretrained, options)


def _described(network: nn.Module, name: str) -> Backbone:
    width = getattr(network, "feature_dim", None) or getattr(network, "num_features", None)
    if not isinstance(width, int):
        raise ModelError(
            f"backbone {name}: its width is not known; give the module an integer attribute feature_dim"
        )
    return Backbone(
        network,
        width,
        getattr(network, "frame_mean", DEFAULT_MEAN),
        getattr(network, "frame_std", DEFAULT_STD),
    )


def _build_timm(name: str, pretrained: bool, options: Mapping[str, Any]) -> Backbone:
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(name):
        known = [*BACKBONE_REGISTRY, *timm.list_models()]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() has the names"
        raise ModelError(f"backbone {name!r}: neither BACKBONE_REGISTRY nor timm has it; {hint}")
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        raise ModelError(f"backbone {name!r} with {dict(options)}: {error}; see VTN.BACKBONE.ARGS") from error
    except Exception as error:
        if not pretrained:
            raise
        raise ModelError(
            f"backbone {name!r}: its published weights cannot be had ({type(error).__name__}: {error}); set "
            "VTN.BACKBONE.PRETRAINED False, or load a checkpoint"
        ) from error
    data = resolve_model_data_config(network)
    return Backbone(
        network, getattr(network, "head_hidden_size", network.num_features), data["mean"], data["std"]
    )


@BACKBONE_REGISTRY.register("shallow_conv")
class ShallowConv(nn.Module):
    """A small backbone that keeps where things are: strided 3×3 convolutions, flattened into a linear layer.

    It learns from scratch in minutes on a CPU, for small frames of simple content.

    Args:
        image_size: height and width of the frames, a multiple of 16.
        width: channels of the first convolution; each of the four doubles them, up to four times as many.
        feature_dim: F.
    """

    STRIDE = 16

    def __init__(self, image_size: int = 64, width: int = 16, feature_dim: int = 128) -> None:
        super().__init__()
        if image_size % self.STRIDE:
            raise ModelError(f"shallow_conv: image_size = {image_size} is no multiple of {self.STRIDE}")
        self.image_size = image_size
        self.feature_dim = feature_dim
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(widths[-1] * (image_size // self.STRIDE) ** 2, feature_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, 3, H, W) to (N, F)."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise InputError(
                f"shallow_conv was built for {self.image_size}×{self.image_size} pixels and got "
                f"{images.shape[-2]}×{images.shape[-1]}; set VTN.BACKBONE.ARGS.image_size to the crop size"
            )
        return self.project(self.stages(images).flatten(1))
