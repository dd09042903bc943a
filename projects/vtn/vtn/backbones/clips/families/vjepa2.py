"""V-JEPA 2 (Assran et al. 2025, arXiv 2506.09985) and V-JEPA 2.1 encoders: rotary positions in three axes.

Both are built from the modules of ``transformers``' V-JEPA 2. The angles of the rotary positions are computed
here, once per clip, for grids of any shape; ``transformers`` computes them in each block, for the square grid
of its configuration.

Shapes: N clips, s time steps, h w grid of patches, L = s·h·w tokens, d width of an attention head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2RopeAttention

from vtn.backbones.base import ClipDescription
from vtn.backbones.clips.families.clip_transformer import ClipTransformer, Grid
from vtn.backbones.clips.families.vjepa2_weights import RenamedWeights, rename_meta_weights

FRAME_RATE = 4.0
"""Frames per second of the training clips: ``fps`` in the authors' training configurations
(``configs/train/vitl16``, of the first phase with 16 frames and of the last with 64)."""

Rotation: TypeAlias = tuple[Tensor, Tensor]
"""Cosines and sines (L, d) of the angles by which queries and keys are turned."""


class VJEPA2Clips(ClipTransformer):
    """The encoder of V-JEPA 2, without its predictor.

    Rotary positions need no table, so frames may have any size that is a multiple of the patch. Weights may
    also come from Meta's checkpoints.

    Args:
        model: ``VJEPA2Model``.
        config: its configuration.
        resize_positions: has no effect; positions are computed for any size.
    """

    VERSION = "2"
    NORM = "encoder.layernorm"

    def __init__(self, model: nn.Module, config: Any, *, resize_positions: bool = False) -> None:
        clip = ClipDescription(config.frames_per_clip, config.tubelet_size, FRAME_RATE)
        super().__init__(model, clip, config.crop_size, config.patch_size, resize_positions=True)
        del model.predictor
        self.head_width = config.hidden_size // config.num_attention_heads
        for block in self.blocks:
            block.attention.__class__ = RotatedAttention  # a new module would draw its weights again

    def rename_weights(self, weights: Mapping[str, Tensor]) -> RenamedWeights:
        """Returns weights of Meta's checkpoints under this network's names; others as they are."""
        return rename_meta_weights(weights, self.VERSION)

    def embed(self, clips: Tensor, grid: Grid) -> Tensor:
        """Maps clips (N, 3, t, H, W) to tokens (N, L, F) without positions."""
        return self.model.encoder.embeddings.patch_embeddings(clips)  # type: ignore[union-attr, operator]

    def block_arguments(self, grid: Grid, device: torch.device) -> tuple[Rotation]:
        """Returns the angles of the tokens of a grid."""
        return (rotation_of(axes_of(grid, device), self.head_width, interleaved=False),)


class VJEPA21Clips(VJEPA2Clips):
    """The encoder of V-JEPA 2.1 for clips (Meta's repository ``vjepa2``, ``app/vjepa_2_1``).

    It differs from V-JEPA 2 in three ways:

    - The two members of a rotated pair have the same frequency, as in other rotary embeddings; in V-JEPA 2
      they have different ones.
    - Rows and columns are scaled such that a frame of any size spans the positions of 256 pixels.
    - A learned vector, which marks videos, is added to each token.

    Not part of it: the patches and the vector of single images, and the norms of three earlier blocks that
    training reads, so an earlier stage gets the norm of the last block, as for other clip encoders.

    Args:
        model, config, resize_positions: see :class:`VJEPA2Clips`.
    """

    VERSION = "2.1"
    ROTARY_PIXELS = 256

    def __init__(self, model: nn.Module, config: Any, *, resize_positions: bool = False) -> None:
        super().__init__(model, config, resize_positions=resize_positions)
        model.video_embedding = nn.Parameter(torch.zeros(1, 1, config.hidden_size))

    def embed(self, clips: Tensor, grid: Grid) -> Tensor:
        """Maps clips (N, 3, t, H, W) to tokens (N, L, F) without positions."""
        return super().embed(clips, grid) + self.model.video_embedding

    def block_arguments(self, grid: Grid, device: torch.device) -> tuple[Rotation]:
        """Returns the angles of the tokens of a grid."""
        step, row, column = axes_of(grid, device)
        last = self.ROTARY_PIXELS // self.patch - 1
        row = row * (last / max(grid.rows - 1, 1))
        column = column * (last / max(grid.columns - 1, 1))
        return (rotation_of((step, row, column), self.head_width, interleaved=True),)


class RotatedAttention(VJEPA2RopeAttention):
    """The attention of V-JEPA 2 that gets the angles, in the place of the tokens' numbers."""

    def get_position_ids(self, x: Tensor, masks: Rotation) -> Rotation:  # type: ignore[override]
        """Returns the angles, which the caller passes as ``position_mask``."""
        return masks

    def apply_rotary_embeddings(self, qk: Tensor, pos_ids: Rotation) -> Tensor:
        """Returns queries or keys (N, heads, L, d), turned by the angles."""
        cosine, sine = (part.to(qk.dtype) for part in pos_ids)
        first, second = qk.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([-second, first], dim=-1).flatten(-2)
        return qk * cosine + turned * sine


def axes_of(grid: Grid, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the time step, row and column (L,) float32 of each token, step by step and row by row."""
    ranges = [torch.arange(extent, device=device, dtype=torch.float32) for extent in grid]
    step, row, column = torch.meshgrid(*ranges, indexing="ij")
    return step.flatten(), row.flatten(), column.flatten()


def rotation_of(axes: Sequence[Tensor], width: int, *, interleaved: bool) -> Rotation:
    """Returns the angles of tokens at the positions ``axes``, each (L,), for heads of that width.

    Each axis turns an even number e of the dimensions, about a third; the rest is not turned. Pair i of an
    axis has the frequency 10000^(-2i / e).

    Args:
        interleaved: whether both members of pair i get frequency i, as in V-JEPA 2.1. Otherwise dimension j
            of an axis gets frequency j mod e/2, as in V-JEPA 2.
    """
    extent = 2 * (width // 3 // 2)
    exponent = torch.arange(extent // 2, device=axes[0].device, dtype=torch.float32) / (extent / 2)
    frequency = 1.0 / 10000**exponent
    frequency = frequency.repeat_interleave(2) if interleaved else frequency.repeat(2)  # (e,)
    angles = torch.cat([axis[:, None] * frequency for axis in axes], dim=-1)  # (L, 3·e)
    angles = nn.functional.pad(angles, (0, width - angles.shape[-1]))
    return angles.cos(), angles.sin()
