"""The baseline without a temporal encoder: the mean of the frames' features, blind to their order.

B clips, T frames, H W pixels, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from slowfast.models.build import MODEL_REGISTRY
from vtn.encoder.input_checks import check_sequence, check_state
from vtn.frame_model import FrameModel, backbone_options, build_head
from vtn.hub import HubModel


@MODEL_REGISTRY.register()
class FrameAverage(HubModel, FrameModel):
    """Backbone, mean over the real frames, and VTN's head. Arguments as those of :class:`vtn.VTN`."""

    def __init__(
        self,
        backbone: str | nn.Module = "vit_base_patch16_224",
        num_classes: int = 400,
        *,
        pretrained: bool = True,
        backbone_checkpoint: str = "",
        pooling: str = "",
        frozen: bool = False,
        frozen_blocks: int = 0,
        learning_norms: bool = False,
        frozen_dtype: str = "",
        lora: Mapping[str, Any] | None = None,
        chunk_frames: int = 0,
        act_checkpoint: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        backbone_args: Mapping[str, Any] | None = None,
        mlp_dim: int = 768,
        dropout_rate: float = 0.5,
    ) -> None:
        super().__init__(
            backbone,
            num_classes,
            pretrained=pretrained,
            backbone_checkpoint=backbone_checkpoint,
            pooling=pooling,
            frozen=frozen,
            frozen_blocks=frozen_blocks,
            learning_norms=learning_norms,
            frozen_dtype=frozen_dtype,
            lora=lora,
            chunk_frames=chunk_frames,
            act_checkpoint=act_checkpoint,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            backbone_args=backbone_args,
        )
        self.mlp_head = build_head(self.feature_dim, mlp_dim, num_classes, dropout_rate)

    @classmethod
    def from_config(cls, cfg: Any, *, fetch_weights: bool = True) -> Self:
        """Builds the model that ``MODEL``, ``VTN.BACKBONE`` and ``VTN.HEAD`` of a configuration describe."""
        return cls(
            **backbone_options(cfg, fetch_weights),
            mlp_dim=cfg.VTN.HEAD.MLP_DIM,
            dropout_rate=cfg.MODEL.DROPOUT_RATE,
        )

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K)."""
        return self.classify(self.encode_frames(frames, mask), positions, mask)

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) to logits (B, K); positions are checked and have no influence."""
        check_sequence(features, positions, mask, self.feature_dim)
        features = features.to(self.mlp_head[0].weight.dtype)
        if mask is None:
            mean = features.mean(dim=1)
        else:
            real = mask[..., None]
            mean = torch.where(real, features, 0).sum(dim=1) / real.sum(dim=1)
        if not self.training:
            check_state(mean, features, mask)
        return self.mlp_head(mean)
