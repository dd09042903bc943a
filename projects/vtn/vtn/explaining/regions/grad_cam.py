"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of the frames of a video, for convolutional backbones.

The class score of the video depends on a frame through its features alone. With g the gradient of the score
with respect to them, the gradient of ``g · features`` with respect to an activation is therefore that of the
score: one frame at a time gives the Grad-CAM of the whole model.

Own code although captum has it: it is one formula, and needs no further package.

N images, C channels, F width of a feature, h w height and width of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Features = Callable[[Tensor], Tensor]
"""Maps images (N, 3, H, W) to features (N, F) or (N, M, F), with gradients."""


def grad_cam(backbone: nn.Module, features: Features, images: Tensor, gradients: Tensor) -> Tensor | None:
    """Returns maps (N, h, w) float32, 0 or more, of the places that speak for the class; not normalised.

    None: the network has no map of places.

    Args:
        backbone: the network that ``features`` runs.
        features: see :data:`Features`.
        images: (N, 3, H, W), normalised.
        gradients: of the log-odds of the class with respect to the features of these frames.
    """
    maps = []
    for image, gradient in zip(images.split(1), gradients.split(1), strict=True):
        with torch.enable_grad(), _last_map(backbone) as last:
            # The map depends on the image, so that a frozen network has gradients, too.
            evidence = (features(image.clone().requires_grad_()) * gradient).sum()
        if not last:
            return None
        (slope,) = torch.autograd.grad(evidence, last)  # (1, C, h, w)
        maps.append((slope.mean((2, 3), keepdim=True) * last[0]).sum(1).relu().detach().float())
    return torch.cat(maps)


@contextmanager
def _last_map(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Yields a list with the newest map (1, C, h, w) of several places that the network computes."""
    last: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-2:].numel() > 1:
            last[:] = [output]

    hooks = [module.register_forward_hook(keep) for module in backbone.modules()]
    try:
        yield last
    finally:
        for hook in hooks:
            hook.remove()
