"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of the frames of a video, for convolutional backbones.

The class score of the video depends on a frame through its features alone. With g the gradient of the score
with respect to them, the gradient of ``g · features`` with respect to an activation is therefore that of the
score: one frame at a time gives the Grad-CAM of the whole model.

N images, F width of a feature, h w height and width of a map.
"""

from __future__ import annotations

from collections.abc import Callable
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
    # Imported here, since captum is an optional package.
    from captum.attr import LayerGradCam

    layer = last_map(backbone, features, images[:1])
    if layer is None:
        return None
    maps = []
    for image, gradient in zip(images.split(1), gradients.split(1), strict=True):

        def evidence(image: Tensor, gradient: Tensor = gradient) -> Tensor:
            return (features(image) * gradient).flatten(1).sum(1)

        with torch.enable_grad():
            # The map depends on the image, so that a frozen network has gradients, too.
            found = LayerGradCam(evidence, layer).attribute(
                image.clone().requires_grad_(), relu_attributions=True
            )
        maps.append(found[:, 0].detach().float())  # (1, 1, h, w) -> (1, h, w)
    return torch.cat(maps)


@torch.no_grad()
def last_map(backbone: nn.Module, features: Features, image: Tensor) -> nn.Module | None:
    """Returns the module that computes the last map of several places; None: the network has none."""
    last: list[nn.Module] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-2:].numel() > 1:
            last[:] = [module]

    hooks = [module.register_forward_hook(keep) for module in backbone.modules()]
    try:
        features(image)
    finally:
        for hook in hooks:
            hook.remove()
    return last[0] if last else None
