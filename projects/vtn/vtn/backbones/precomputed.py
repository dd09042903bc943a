"""The backbone of models that are given features which others made, and never see a frame.

N images, F width of a feature.
"""

from __future__ import annotations

from torch import Tensor, nn

from slowfast.errors import InputError
from vtn.backbones.build import BACKBONE_REGISTRY


@BACKBONE_REGISTRY.register("precomputed")
class Precomputed(nn.Module):
    """Has a width and no weights.

    Args:
        feature_dim: F, of the features that the model is given.
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def forward(self, images: Tensor) -> Tensor:
        """Refuses images (N, 3, H, W)."""
        raise InputError(
            f"the backbone 'precomputed' looks at no frames ({tuple(images.shape)} were given); give the "
            "model features (TRAIN.DATASET and TEST.DATASET 'features'), or name another VTN.BACKBONE.NAME"
        )
