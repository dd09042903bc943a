"""TimeSformer (Bertasius et al. 2021, arXiv 2102.05095): attention over time, then over space, in each block.

Shapes: N clips, t frames, p patches per frame, F width of a feature.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.timesformer.modeling_timesformer import TimesformerLayer

from slowfast.errors import ModelError
from vtn.backbones.base import ClipDescription
from vtn.backbones.clips.families.clip_transformer import ClipTransformer, Grid

# Frames per clip -> distance of the frames in Kinetics videos, in the names of the published weights:
# 8x32, 16x16 and 96x4 (the authors' repository, README, "Model Zoo"). Those for Something-Something v2 were
# trained on frames spread over the whole video instead.
_STRIDES = {8: 32, 16: 16, 96: 4}
_DEFAULT_STRIDE = 32


class TimesformerClips(ClipTransformer):
    """The encoder of TimeSformer with divided space-time attention.

    The tokens are in the order class token, then frame by frame. The class token takes part in the attention
    over space of each frame, as the mean of the frames' results, and is left out of the features.

    Args:
        model: ``TimesformerModel``.
        config: its configuration.
        resize_positions: see :class:`ClipTransformer`.

    Raises:
        ModelError: for another type of attention.
    """

    def __init__(self, model: nn.Module, config: Any, *, resize_positions: bool = False) -> None:
        if config.attention_type != "divided_space_time":
            raise ModelError(
                f"VTN.BACKBONE.ARGS.attention_type = {config.attention_type!r}: must be divided_space_time, "
                "the attention of the published TimeSformer weights"
            )
        stride = _STRIDES.get(config.num_frames, _DEFAULT_STRIDE)
        clip = ClipDescription(config.num_frames, tubelet=1, fps=30 / stride)
        super().__init__(model, clip, config.image_size, config.patch_size, resize_positions)
        for layer in self.blocks:
            layer.__class__ = DividedLayer  # a new module would draw its random weights a second time

    def embed(self, clips: Tensor, grid: Grid) -> Tensor:
        """Maps clips (N, 3, t, H, W) to a class token and tokens (N, 1 + t·p, F) with their positions."""
        embeddings: Any = self.model.embeddings
        frames = clips.transpose(1, 2).flatten(0, 1)  # (N·t, 3, H, W)
        tokens = embeddings.patch_embeddings.projection(frames).flatten(2).transpose(1, 2)
        table = embeddings.position_embeddings
        in_frame = self.trained_grid._replace(steps=1), grid._replace(steps=1)
        tokens = embeddings.pos_drop(tokens + self.cut_positions(table[:, 1:], *in_frame))
        tokens = tokens.unflatten(0, (-1, grid.steps))  # (N, t, p, F)
        tokens = embeddings.time_drop(tokens + embeddings.time_embeddings[:, : grid.steps, None])
        class_token = embeddings.pos_drop(embeddings.cls_token + table[:, :1]).expand(len(clips), -1, -1)
        return torch.cat([class_token.to(tokens.dtype), tokens.flatten(1, 2)], dim=1)

    def block_arguments(self, grid: Grid, device: torch.device) -> tuple[int]:
        """Returns the number of frames."""
        return (grid.steps,)


class DividedLayer(TimesformerLayer):
    """A block for any number of frames; that of ``transformers`` requires the number in its configuration."""

    def forward(self, tokens: Tensor, frames: int) -> Tensor:  # type: ignore[override]
        """Maps a class token and tokens (N, 1 + t·p, F), frame by frame, to the same shape (section 3)."""
        first, patches = tokens[:, :1], tokens[:, 1:].unflatten(1, (frames, -1))  # (N, t, p, F)
        # Attention over the frames, for each place.
        over_time = patches.transpose(1, 2)  # (N, p, t, F)
        change = self.temporal_attention(self.temporal_layernorm(over_time.flatten(0, 1)))[0]
        change = self.temporal_dense(self.drop_path(change)).unflatten(0, over_time.shape[:2])
        patches = patches + change.transpose(1, 2)
        # Attention over the places, for each frame, with a copy of the class token.
        copies = first[:, None].expand(-1, frames, -1, -1)
        over_space = torch.cat([copies, patches], dim=2)  # (N, t, 1 + p, F)
        change = self.attention(self.layernorm_before(over_space.flatten(0, 1)))[0]
        change = self.drop_path(change).unflatten(0, over_space.shape[:2])
        first = first + change[:, :, 0].mean(1, keepdim=True)
        patches = patches + change[:, :, 1:]
        tokens = torch.cat([first, patches.flatten(1, 2)], dim=1)
        return tokens + self.drop_path(self.output(self.intermediate(self.layernorm_after(tokens))))
