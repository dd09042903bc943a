"""Feature maps: the features of an image before its backbone pools them into one vector.

Shapes: N images, H W pixels, h w height and width of a map, F width of a feature, L tokens of a transformer.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

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


class MapTrial(NamedTuple):
    """The properties of a map, found by a trial.

    Attributes:
        height, width: h and w.
        feature_dim: F.
        has_class_token: whether the map comes with a class token.
        unused: names of trainable parameters that have no influence on the map and the class token.
    """

    height: int
    width: int
    feature_dim: int
    has_class_token: bool
    unused: tuple[str, ...]


def try_map(
    network: nn.Module, read: MapFunction, stage: int, size: Sequence[int], *, class_token: bool
) -> MapTrial:
    """Computes the map of one image or clip on the meta device, where this is possible.

    Args:
        size: (H, W) of the image in pixels, or (t, H, W) of a clip.
        class_token: whether the class token is used too, which matters for ``unused``.

    Raises:
        ModelError: if the backbone has no such map.
    """
    try:
        return _try_map(meta_copy(network), torch.device("meta"), read, stage, size, class_token)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):
        pass  # some networks keep tensors that a copy does not move; try on the network itself
    modes = {module: module.training for module in network.modules()}
    tensor = next(chain(network.parameters(), network.buffers()), torch.empty(0))
    try:
        return _try_map(network, tensor.device, read, stage, size, class_token)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _try_map(
    network: nn.Module,
    device: torch.device,
    read: MapFunction,
    stage: int,
    size: Sequence[int],
    class_token: bool,
) -> MapTrial:
    learning = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    images = torch.zeros(1, 3, *size, device=device, dtype=dtype)
    with torch.set_grad_enabled(bool(learning)):
        found = read(network.eval(), images, stage)
        unused: tuple[str, ...] = ()
        if learning:
            total = found.places.sum()
            if class_token and found.class_token is not None:
                total = total + found.class_token.sum()
            unused = tuple(without_influence(total, learning))
    *_, h, w, feature_dim = found.places.shape
    return MapTrial(h, w, feature_dim, found.class_token is not None, unused)


def without_influence(total: Tensor, weights: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of the weights from which a tensor was not computed.

    The graph of the computation is searched: gradients on the meta device take longer than all else.
    """
    reached: set[int] = set()
    pending, visited = [total.grad_fn], {None}
    while pending:
        node = pending.pop()
        if node in visited:
            continue
        visited.add(node)
        if isinstance(node, BackwardCFunction):
            # A function of Python may pass no gradient on, and one that recomputes hides its weights.
            gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
            return [name for name, gradient in zip(weights, gradients, strict=True) if gradient is None]
        reached.add(id(getattr(node, "variable", None)))
        pending += [following for following, _ in node.next_functions]
    return [name for name, weight in weights.items() if id(weight) not in reached]


def meta_copy(network: nn.Module) -> nn.Module:
    """Returns a copy of the network without memory for its weights."""
    memo: dict[int, Tensor] = {
        id(weight): nn.Parameter(weight.detach().to("meta"), weight.requires_grad)
        for weight in network.parameters()
    }
    memo.update({id(buffer): buffer.to("meta") for buffer in network.buffers()})
    return copy.deepcopy(network, memo)  # type: ignore[arg-type]
