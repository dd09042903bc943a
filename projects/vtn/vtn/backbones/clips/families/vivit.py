"""ViViT (Arnab et al. 2021, arXiv 2103.15691), model 1: joint attention over tubelets and a class token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vtn.backbones.base import ClipDescription
from vtn.backbones.clips.families.clip_transformer import ClipTransformer, Grid

FRAME_RATE = 25 / 2
"""Every 2nd frame of Kinetics: the configurations of the authors' code (scenic,
``projects/vivit/configs/kinetics400``) give stride 2 and videos of 250 frames, which last 10 s."""


class VivitClips(ClipTransformer):
    """The encoder of ViViT, with learned positions.

    The class token takes part in attention and is left out of the features.

    Args:
        model: ``VivitModel``.
        config: its configuration.
        resize_positions: see :class:`ClipTransformer`.
    """

    BLOCKS = "layers"

    def __init__(self, model: nn.Module, config: Any, *, resize_positions: bool = False) -> None:
        tubelet, patch, _ = config.tubelet_size
        clip = ClipDescription(config.num_frames, tubelet, FRAME_RATE)
        super().__init__(model, clip, config.image_size, patch, resize_positions)
        model.pooler = None  # a dense layer on the class token

    def embed(self, clips: Tensor, grid: Grid) -> Tensor:
        """Maps clips (N, 3, t, H, W) to a class token and tokens (N, 1 + s·h·w, F) with their positions."""
        embeddings: Any = self.model.embeddings
        tokens = embeddings.patch_embeddings.projection(clips).flatten(2).transpose(1, 2)
        table = embeddings.position_embeddings
        tokens = tokens + self.cut_positions(table[:, 1:], self.trained_grid, grid)
        class_token = (embeddings.cls_token + table[:, :1]).expand(len(tokens), -1, -1)
        return embeddings.dropout(torch.cat([class_token.to(tokens.dtype), tokens], dim=1))
