"""What is known of a backbone: its width, and how its frames are to be made.

N images, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from slowfast.errors import ModelError
from slowfast.registry import Registry

BACKBONE_REGISTRY: Registry[Callable[..., nn.Module]] = Registry("backbone", "VTN.BACKBONE.NAME")
"""Functions or classes that return a backbone from the keyword arguments of ``VTN.BACKBONE.ARGS``.

The module they return says its width F by an attribute ``feature_dim`` (or ``num_features``), and may say how
its images are to be made by ``frame_mean``, ``frame_std`` and attributes named as those of :class:`Backbone`.
A function that takes an argument ``pretrained`` is told whether weights are wanted.
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
        image_size: height and width in pixels that its weights were trained with; None where it is not known.
        fixed_size: whether it takes images of that size alone.
        size_multiple: height and width must be multiples of this.
        resize_hint: what to set for images of another size, for messages.
        interpolation: how its images were scaled in training, ``bilinear`` or ``bicubic``.
        classifier: layers of the classifier that the published weights have, and which is not taken.
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

    def size_problem(self, height: int, width: int) -> str:
        """What is wrong with images of that size, with the remedy; empty where nothing is."""
        if self.fixed_size and (height, width) != (self.image_size, self.image_size):
            hint = f", or {self.resize_hint}" if self.resize_hint else ""
            return (
                f"the backbone takes {self.image_size}×{self.image_size} pixels alone, not {height}×{width}; "
                f"use that crop size{hint}"
            )
        if height % self.size_multiple or width % self.size_multiple:
            return (
                f"the backbone cuts images into squares of {self.size_multiple} pixels, which do not fill "
                f"{height}×{width}; use a multiple"
            )
        return ""


def describe(network: nn.Module, name: str) -> Backbone:
    """Returns the description that a network gives of itself by its attributes.

    Raises:
        ModelError: where it does not say its width.
    """
    width = getattr(network, "feature_dim", None) or getattr(network, "num_features", None)
    if not isinstance(width, int):
        raise ModelError(
            f"backbone {name}: its width is not known; give the module an integer attribute feature_dim"
        )
    renamed = {"frame_mean": "mean", "frame_std": "std"}
    same = ("image_size", "fixed_size", "size_multiple", "resize_hint", "interpolation")
    said: dict[str, Any] = {
        ours: getattr(network, theirs)
        for theirs, ours in (*renamed.items(), *zip(same, same, strict=True))
        if hasattr(network, theirs)
    }
    return Backbone(network, width, **said)


def interpolation_of(name: str) -> str:
    """``bilinear`` or ``bicubic``, whichever is nearer to the interpolation of that name."""
    return "bicubic" if str(name) in ("bicubic", "lanczos", "random") else "bilinear"
