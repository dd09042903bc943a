"""Search for parameters without influence on the features, by a trial on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vtn.backbones.maps.feature_map import meta_copy


def unused_parameters(
    network: nn.Module, compute: Callable[[nn.Module, Tensor], Tensor], size: Sequence[int]
) -> set[str]:
    """Returns the names of the parameters, frozen ones included, that have no influence on the features.

    The result is empty for a network that does not run on the meta device.

    Args:
        compute: maps (network, images (1, 3, H, W), or a clip) to features.
        size: (H, W) of the image in pixels, or (t, H, W) of a clip.
    """
    try:
        trial = meta_copy(network).eval()
        weights = {name: weight for name, weight in trial.named_parameters() if weight.is_floating_point()}
        for weight in weights.values():
            weight.requires_grad_(True)
        dtype = next((weight.dtype for weight in weights.values()), torch.float32)
        with torch.enable_grad():
            features = compute(trial, torch.zeros(1, 3, *size, device="meta", dtype=dtype))
        gradients = torch.autograd.grad(features.sum(), list(weights.values()), allow_unused=True)
    except Exception:  # any network may run here, with errors of any type where values are missing
        return set()
    return {name for name, gradient in zip(weights, gradients, strict=True) if gradient is None}
