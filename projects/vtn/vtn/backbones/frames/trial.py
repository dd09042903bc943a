"""Trials of a network on the meta device: sizes that it accepts, and parameters without influence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from vtn.backbones.maps.feature_map import meta_copy, without_influence

ReadFeatures = Callable[[nn.Module, Tensor], Tensor]

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


def runs(network: nn.Module, compute: ReadFeatures, size: Sequence[int]) -> bool:
    """Returns whether a network computes features of images of that size (H, W) on the meta device."""
    try:
        with torch.no_grad():
            _compute(meta_copy(network), compute, size)
    except Exception:  # any network may run here, with errors of any type
        return False
    return True


def unused_parameters(network: nn.Module, compute: ReadFeatures, size: Sequence[int]) -> set[str]:
    """Returns the names of the parameters, frozen ones included, that have no influence on the features.

    The result is empty for a network that does not run on the meta device, and in :func:`without_training`.

    Args:
        compute: maps (network, images (1, 3, H, W), or a clip) to features.
        size: (H, W) of the image in pixels, or (t, H, W) of a clip.
    """
    if not _TRAINS.get():
        return set()
    try:
        trial = meta_copy(network)
        weights = {name: weight for name, weight in trial.named_parameters() if weight.is_floating_point()}
        for weight in weights.values():
            weight.requires_grad_(True)
        with torch.enable_grad():
            features = _compute(trial, compute, size)
        return set(without_influence(features.sum(), weights)) if features.requires_grad else set()
    except Exception:  # as above
        return set()


def _compute(trial: nn.Module, compute: ReadFeatures, size: Sequence[int]) -> Tensor:
    dtype = next((weight.dtype for weight in trial.parameters() if weight.is_floating_point()), torch.float32)
    return compute(trial.eval(), torch.zeros(1, 3, *size, device="meta", dtype=dtype))
