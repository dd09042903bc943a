"""Trials of a network without values: sizes that it accepts, maps, and parameters without influence.

They run on the meta device, on a copy without memory for weights. Some networks keep tensors that such a copy
does not move; where a trial must have a result, these run themselves.

Shapes: N images, H W pixels, t frames of a clip, h w height and width of a map, F width of a feature.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from vtn.backbones.maps.feature_map import MapFunction

ReadFeatures = Callable[[nn.Module, Tensor], Tensor]
"""Maps (network, images (N, 3, H, W) or clips) to features."""
T = TypeVar("T")

_TRAINS = ContextVar("_TRAINS", default=True)


@contextmanager
def without_training() -> Iterator[None]:
    """Leaves out the search for parameters without influence, which matters to training alone.

    Convolutions and norms on the meta device let torch import its compiler and sympy: a second and 150 MB.
    """
    token = _TRAINS.set(False)
    try:
        yield
    finally:
        _TRAINS.reset(token)


class MapTrial(NamedTuple):
    """The properties of a map, found by a trial.

    Attributes:
        height, width: h and w.
        feature_dim: F.
        has_class_token: whether the map comes with a class token.
    """

    height: int
    width: int
    feature_dim: int
    has_class_token: bool


def try_map(network: nn.Module, read: MapFunction, stage: int, size: Sequence[int]) -> MapTrial:
    """Returns the properties of the map of one image, or clip, of that size.

    Args:
        size: (H, W) of the image in pixels, or (t, H, W) of a clip.

    Raises:
        ModelError: if the backbone has no such map.
    """
    with torch.no_grad():
        found = _with_fallback(network, lambda trial, images: read(trial, images, stage), size)
    *_, height, width, feature_dim = found.places.shape
    return MapTrial(height, width, feature_dim, found.class_token is not None)


def runs(network: nn.Module, compute: ReadFeatures, size: Sequence[int]) -> bool:
    """Returns whether a network computes features of images of that size (H, W) on the meta device."""
    try:
        with torch.no_grad():
            _on_zeros(meta_copy(network), compute, size)
    except Exception:  # any network may run here, with errors of any type
        return False
    return True


def unused_parameters(
    network: nn.Module, compute: ReadFeatures, size: Sequence[int], *, may_run: bool
) -> set[str]:
    """Returns the names of the parameters, frozen ones included, that have no influence on the features.

    The result is empty for a network that cannot be tried, and in :func:`without_training`.

    Args:
        compute: maps (network, images (1, 3, H, W), or a clip) to features.
        size: (H, W) of the image in pixels, or (t, H, W) of a clip.
        may_run: whether a network that does not run on the meta device may run itself.
    """

    def search(trial: nn.Module, images: Tensor) -> set[str]:
        weights = {name: weight for name, weight in trial.named_parameters() if weight.is_floating_point()}
        if images.is_meta:
            for weight in weights.values():
                weight.requires_grad_(True)
        features = compute(trial, images)
        learning = {name: weight for name, weight in weights.items() if weight.requires_grad}
        return set(without_influence(features.sum(), learning)) if features.requires_grad else set()

    if not _TRAINS.get():
        return set()
    try:
        with torch.enable_grad():
            if may_run:
                return _with_fallback(network, search, size)
            return _on_zeros(meta_copy(network), search, size)
    except Exception:  # as above
        return set()


def _with_fallback(network: nn.Module, compute: Callable[[nn.Module, Tensor], T], size: Sequence[int]) -> T:
    """Returns ``compute`` of a copy on the meta device, or else of the network itself, for black images."""
    try:
        return _on_zeros(meta_copy(network), compute, size)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):
        pass
    modes = {module: module.training for module in network.modules()}
    try:
        return _on_zeros(network, compute, size)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _on_zeros(network: nn.Module, compute: Callable[[nn.Module, Tensor], T], size: Sequence[int]) -> T:
    """Returns ``compute`` of a network in evaluation mode and one black image or clip (1, 3, *size)."""
    like = next(chain(network.parameters(), network.buffers()), torch.empty(0))
    dtype = next(
        (weight.dtype for weight in network.parameters() if weight.is_floating_point()), torch.float32
    )
    return compute(network.eval(), torch.zeros(1, 3, *size, device=like.device, dtype=dtype))


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
