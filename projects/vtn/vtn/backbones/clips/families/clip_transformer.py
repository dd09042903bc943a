"""The part that transformers over the space-time tokens of a clip have in common.

Shapes: N clips, t frames, H W pixels, s time steps, h w grid of patches, L tokens, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from slowfast.errors import InputError
from vtn.backbones.base import ClipDescription
from vtn.backbones.maps.feature_map import check_stage


class Grid(NamedTuple):
    """The numbers of time steps, rows and columns of a clip's tokens."""

    steps: int
    rows: int
    columns: int

    @property
    def places(self) -> int:
        """Tokens per time step."""
        return self.rows * self.columns


class ClipTransformer(nn.Module):
    """A transformer whose tokens are tubelets of a clip.

    A subclass defines :meth:`embed`, and where its blocks and its norm have other names than here. Where a
    clip is shorter than ``clip.frames``, the tokens of the missing time steps are left out and the others
    keep their positions, so the features are those of a full clip in which the missing tokens are masked.

    Args:
        model: a model of ``transformers``.
        clip: the clips that it encodes.
        image_size: side of the frames in pixels.
        patch: side of a patch in pixels.
        resize_positions: interpolate the position embeddings in space, so that frames may have any size.

    Attributes:
        trained_grid: the grid of a full clip.
    """

    BLOCKS = "encoder.layer"
    NORM = "layernorm"

    def __init__(
        self, model: nn.Module, clip: ClipDescription, image_size: int, patch: int, resize_positions: bool
    ) -> None:
        super().__init__()
        self.model, self.clip, self.patch, self.resize_positions = model, clip, patch, resize_positions
        side = image_size // patch
        self.trained_grid = Grid(clip.frames // clip.tubelet, side, side)

    @property
    def wrapped(self) -> nn.Module:
        """The inner network; its parameter names are the names in published weights."""
        return self.model

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks, from the first to the last."""
        return self.model.get_submodule(self.BLOCKS)  # type: ignore[return-value]

    def embed(self, clips: Tensor, grid: Grid) -> Tensor:
        """Maps clips (N, 3, t, H, W) to tokens (N, L, F) with their positions."""
        raise NotImplementedError

    def block_arguments(self, grid: Grid, device: torch.device) -> tuple[Any, ...]:
        """Returns what each block gets beside the tokens."""
        return ()

    def final_norm(self, tokens: Tensor) -> Tensor:
        """Applies the norm after the last block to tokens (N, L, F)."""
        return self.model.get_submodule(self.NORM)(tokens)

    def encode(self, clips: Tensor, grid: Grid, stage: int) -> Tensor:
        """Maps clips (N, 3, t, H, W) to features (N, s, h, w, F) after block ``stage``; 0: the last block."""
        tokens = self.embed(clips, grid)
        arguments = self.block_arguments(grid, tokens.device)
        for block in self.blocks[: stage or None]:
            found = block(tokens, *arguments)
            tokens = found[0] if isinstance(found, tuple) else found
        patches = self.final_norm(tokens)[:, -grid.steps * grid.places :]  # without a class token
        return patches.unflatten(1, grid)

    def feature_map(self, clips: Tensor, stage: int = 0) -> Tensor:
        """Maps clips (N, 3, t, H, W) to features (N, s, h, w, F) by time step and place.

        Args:
            clips: t is a multiple of the tubelet, at most ``clip.frames``.
            stage: 0, or n from 1: compute the first n blocks only, and apply the final norm to their output.

        Raises:
            InputError: for another number of frames, or a size that needs resized position embeddings.
            ModelError: for a stage that the network does not have.
        """
        check_stage(stage, len(self.blocks))
        return self.encode(clips, self._grid_of(clips), stage)

    def forward(self, clips: Tensor) -> Tensor:
        """Maps clips (N, 3, t, H, W) to features (N, s, F): the mean over the places of each time step."""
        return self.feature_map(clips).mean((2, 3))

    def cut_positions(self, table: Tensor, trained: Grid, grid: Grid) -> Tensor:
        """Returns the positions (1, s·h·w, F) of a grid in the table (1, s'·h'·w', F) of the trained grid.

        Time steps are cut. Rows and columns are interpolated where they differ.
        """
        if grid[1:] != trained[1:]:
            by_step = table.unflatten(1, trained).squeeze(0).permute(0, 3, 1, 2)  # (s', F, h', w')
            resized = nn.functional.interpolate(
                by_step, size=grid[1:], mode="bicubic", align_corners=False, antialias=False
            )
            table = resized.flatten(2).transpose(1, 2).flatten(0, 1)[None]  # (1, s'·h·w, F)
        return table[:, : grid.steps * grid.places]

    def _grid_of(self, clips: Tensor) -> Grid:
        """Returns the grid of the tokens of clips (N, 3, t, H, W); refuses what the network cannot encode."""
        frames, (height, width) = clips.shape[2], clips.shape[-2:]
        tubelet = self.clip.tubelet
        if not tubelet <= frames <= self.clip.frames or frames % tubelet:
            raise InputError(
                f"a clip has {frames} frames: must be a multiple of {tubelet}, at most {self.clip.frames}, "
                f"for {type(self).__name__}"
            )
        grid = Grid(frames // tubelet, height // self.patch, width // self.patch)
        if grid[1:] != self.trained_grid[1:] and not self.resize_positions:
            side = self.trained_grid.rows * self.patch
            raise InputError(
                f"frames have {height}×{width} pixels: must be {side}×{side} for "
                f"{type(self).__name__}, or set VTN.BACKBONE.ARGS.dynamic_img_size True"
            )
        return grid
