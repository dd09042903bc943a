"""The backbone of models whose input is precomputed features instead of frames.

Shapes: N images, F width of a feature.
"""

from __future__ import annotations

from torch import Tensor, nn

from slowfast.errors import InputError
from vtn.backbones.build import BACKBONE_REGISTRY


@BACKBONE_REGISTRY.register("precomputed")
class Precomputed(nn.Module):
    """A placeholder with a feature width and without weights.

    Args:
        feature_dim: F, the width of the precomputed features.
    """

    takes_frames = False

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def feature_map(self, images: Tensor) -> Tensor:
        """Raises ``InputError``, as :meth:`forward`."""
        return self(images)

    def forward(self, images: Tensor) -> Tensor:
        """Raises ``InputError``, since it cannot compute features from images (N, 3, H, W)."""
        raise InputError(
            f"VTN.BACKBONE.NAME = 'precomputed': cannot encode frames (got shape {tuple(images.shape)}); use "
            "features as input (TRAIN.DATASET and TEST.DATASET 'features'), or another VTN.BACKBONE.NAME"
        )
