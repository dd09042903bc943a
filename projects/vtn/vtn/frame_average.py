"""The baseline without a temporal encoder: it averages the features of all frames and ignores their order.

B clips, T frames, H W pixels, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.models.build import MODEL_REGISTRY
from vtn.arguments.groups import BackboneConfig, HeadConfig
from vtn.arguments.model_arguments import ModelArguments
from vtn.encoder.input_checks import check_sequence, check_state
from vtn.frame_model import FrameModel, build_head
from vtn.hub import HubModel


@MODEL_REGISTRY.register()
class FrameAverage(HubModel, FrameModel):
    """A backbone, the mean over the real frames, and the head of VTN.

    Args:
        backbone: the image backbone: its name, a network, or all its settings as a :class:`BackboneConfig`.
        num_classes: number K of logits, 1 or more; by default the 400 of Kinetics.
        head: settings of the classifier.
        fields: single fields of the groups by flat names, as for :class:`vtn.VTN`.

    Raises:
        ModelError: for unknown arguments, values out of range, and parts that do not fit together.
        CheckpointError: for weights of the backbone that are damaged or do not fit.

    >>> from vtn import BackboneConfig, FrameAverage
    >>> model = FrameAverage(BackboneConfig("shallow_conv", pretrained=False), num_classes=12)
    """

    def __init__(
        self,
        backbone: str | nn.Module | BackboneConfig | Mapping[str, Any] = "vit_base_patch16_224",
        num_classes: int = 400,
        *,
        head: HeadConfig | Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        groups = {"backbone": backbone, "num_classes": num_classes, "head": head}
        arguments = ModelArguments().changed({**groups, **fields})
        super().__init__(arguments)
        self.mlp_head = build_head(self.feature_dim, arguments.head, num_classes)

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K)."""
        return self.classify(self.encode_frames(frames, mask), positions, mask)

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) to logits (B, K), see :meth:`FrameModel.classify`.

        Positions are checked and have no influence.
        """
        check_sequence(features, positions, mask, self.feature_dim)
        features = features.to(self.mlp_head[0].weight.dtype)
        if mask is None:
            mean = features.mean(dim=1)
        else:
            real = mask[..., None]
            # Masked features may be NaN, which a product with 0 would keep.
            mean = torch.where(real, features, 0).sum(dim=1) / real.sum(dim=1)
        if not self.training:
            check_state(mean, features, mask)
        return self.mlp_head(mean)
