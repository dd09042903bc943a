"""VideoMAE (Tong et al. 2022, arXiv 2203.12602): a plain transformer over tubelets of 2 frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vtn.backbones.base import ClipDescription
from vtn.backbones.clips.families.clip_transformer import ClipTransformer, Grid

FRAME_RATE = 30 / 4
"""Every 4th frame of Kinetics (section 4 of the paper); of Something-Something v2 every 2nd was taken."""


class VideoMAEClips(ClipTransformer):
    """The encoder of VideoMAE, with fixed sinusoidal positions.

    Models that were pretrained only (``use_mean_pooling`` False) have a norm after the last block. Fine-tuned
    ones have it in their classifier instead, after the mean over all tokens (``fc_norm``); here it is applied
    to each token.

    Args:
        model: ``VideoMAEModel``, or ``VideoMAEForVideoClassification`` for ``use_mean_pooling`` True.
        config: its configuration.
        resize_positions: see :class:`ClipTransformer`.
    """

    def __init__(self, model: nn.Module, config: Any, *, resize_positions: bool = False) -> None:
        clip = ClipDescription(config.num_frames, config.tubelet_size, FRAME_RATE)
        super().__init__(model, clip, config.image_size, config.patch_size, resize_positions)
        if config.use_mean_pooling:
            model.classifier = nn.Identity()
        table = sinusoids(self.trained_grid.steps * self.trained_grid.places, config.hidden_size)
        self.register_buffer("positions", table, persistent=False)

    @property
    def encoder(self) -> Any:
        """The model without its classifier."""
        return getattr(self.model, "videomae", self.model)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks, from the first to the last."""
        return self.encoder.encoder.layer

    def embed(self, clips: Tensor, grid: Grid) -> Tensor:
        """Maps clips (N, 3, t, H, W) to tokens (N, s·h·w, F) with their positions."""
        projection = self.encoder.embeddings.patch_embeddings.projection
        tokens = projection(clips).flatten(2).transpose(1, 2)
        return tokens + self.cut_positions(self.positions, self.trained_grid, grid).type_as(tokens)

    def final_norm(self, tokens: Tensor) -> Tensor:
        """Applies the norm after the last block, or the classifier's."""
        norm = self.encoder.layernorm
        return self.model.fc_norm(tokens) if norm is None else norm(tokens)


def sinusoids(count: int, width: int) -> Tensor:
    """Returns the positions (1, count, width) of tokens that are counted through all time steps.

    Dimensions 2i and 2i + 1 are the sine and cosine of n / 10000^(2i / width) for token n.
    """
    number = torch.arange(count, dtype=torch.float64, device="cpu")[:, None]
    exponent = torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width
    angle = number / 10000**exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[None, :, :width].float()
