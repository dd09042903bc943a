"""Feature maps: the features of an image before its backbone pools them into one vector.

Shapes: N images, H W pixels, h w height and width of a map, F width of a feature, L tokens of a transformer.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor, nn

from slowfast.errors import ModelError


class FeatureMap(NamedTuple):
    """The features of N images by place.

    Attributes:
        places: (N, h, w, F), row by row from the top left; register tokens are not part of it. Those of clip
            encoders are (N, s, h, w, F) for s time steps.
        class_token: (N, F); None for backbones without a class token.
    """

    places: Tensor
    class_token: Tensor | None = None


MapFunction: TypeAlias = Callable[[nn.Module, Tensor, int], FeatureMap]
"""Function (network, images (N, 3, H, W), stage) -> map. Stage 0 is the last map, after the network's final
norm; stage n is the map after the n-th stage or block, counted from 1."""


def own_map(network: nn.Module, images: Tensor, stage: int) -> FeatureMap:
    """Returns the result of a network's own method ``feature_map(images)``; see :data:`MapFunction`.

    The method returns a map (N, h, w, F), or a pair of the map and class tokens (N, F). It may have a second
    parameter ``stage``.

    Raises:
        ModelError: for a stage that the method cannot choose.
    """
    method = network.feature_map
    if "stage" in inspect.signature(method).parameters:  # type: ignore[arg-type]
        found = method(images, stage=stage)  # type: ignore[operator]
    elif stage:
        raise ModelError(
            f"VTN.BACKBONE.STAGE = {stage}: must be 0 for {type(network).__name__}, whose feature_map() has "
            "no parameter stage"
        )
    else:
        found = method(images)  # type: ignore[operator]
    return FeatureMap(found) if isinstance(found, Tensor) else FeatureMap(*found)


def from_tokens(tokens: Tensor, prefix: int, images: Tensor, *, has_class_token: bool) -> FeatureMap:
    """Returns the map in the output tokens (N, L, F) of a transformer.

    Args:
        prefix: number of tokens before those of the patches: class, distillation and register tokens.
        images: (N, 3, H, W), the input.
        has_class_token: whether token 0 is the class token.
    """
    h, w = grid_of(tokens.shape[1] - prefix, *images.shape[-2:])
    places = tokens[:, prefix:].unflatten(1, (h, w))
    return FeatureMap(places, tokens[:, 0] if has_class_token else None)


def grid_of(count: int, height: int, width: int) -> tuple[int, int]:
    """Returns rows and columns of ``count`` patches that cover an image of that size in pixels.

    Raises:
        ModelError: if no grid of that many patches has nearly the image's aspect ratio.

    >>> grid_of(60, 96, 160)
    (6, 10)
    """
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    errors = [abs(math.log(rows * width / (columns * height))) for rows, columns in grids]
    best = min(range(len(grids)), key=errors.__getitem__, default=-1)
    # A row or column may be lost at the border, which changes the ratio by one part in the number of rows.
    if best < 0 or errors[best] > 1 / min(grids[best]) + 1e-9:
        raise ModelError(
            f"the backbone returns {count} tokens for {height}×{width} pixels: must be a grid of patches; "
            "use VTN.BACKBONE.TOKENS [1, 1] and CLASS_TOKEN False for this backbone"
        )
    return grids[best]


def check_stage(stage: int, count: int) -> None:
    """Raises ``ModelError`` unless a network with ``count`` stages or blocks has that stage."""
    if not 0 <= stage <= count:
        raise ModelError(
            f"VTN.BACKBONE.STAGE = {stage}: must be 0 (the last map) or 1 to {count}, the number of stages "
            "or blocks of this backbone"
        )
