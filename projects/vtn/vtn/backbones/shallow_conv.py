"""A small convolutional backbone for small frames with simple content."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from slowfast.errors import InputError, ModelError
from vtn.backbones.base import BACKBONE_REGISTRY


@BACKBONE_REGISTRY.register("shallow_conv")
class ShallowConv(nn.Module):
    """Four strided 3×3 convolutions, whose output is flattened into a linear layer, without pooling.

    Features therefore depend on the location of objects. The network can be trained from random weights in
    minutes on a CPU.

    Args:
        image_size: height and width of the frames in pixels, a multiple of 16.
        width: channels of the first convolution; the others have 2, 4 and 4 times as many.
        feature_dim: F.

    Raises:
        ModelError: if ``image_size`` is not a multiple of 16.
    """

    STRIDE = 16
    fixed_size = True
    resize_hint = "set VTN.BACKBONE.ARGS.image_size to the crop size"

    def __init__(self, image_size: int = 64, width: int = 16, feature_dim: int = 128) -> None:
        super().__init__()
        if image_size % self.STRIDE:
            raise ModelError(f"shallow_conv: image_size = {image_size}: must be a multiple of {self.STRIDE}")
        self.image_size = image_size
        self.feature_dim = feature_dim
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(widths[-1] * (image_size // self.STRIDE) ** 2, feature_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to features (N, F).

        Raises:
            InputError: if H or W is not ``image_size``.
        """
        return self.project(self._map(images).flatten(1))

    def feature_map(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to the map (N, H / 16, W / 16, 4 · width) before the linear layer."""
        return self._map(images).permute(0, 2, 3, 1)

    def _map(self, images: Tensor) -> Tensor:
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise InputError(
                f"shallow_conv: images have {images.shape[-2]}×{images.shape[-1]} pixels: must be "
                f"{self.image_size}×{self.image_size}; set VTN.BACKBONE.ARGS.image_size to the crop size"
            )
        return self.stages(images)
