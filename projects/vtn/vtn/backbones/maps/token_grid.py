"""Tokens of a frame: averages over the cells of a grid on the feature map, and the class token.

Shapes: N images, h w height and width of a map, r c rows and columns of the grid, M tokens, F width.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vtn.backbones.maps.feature_map import FeatureMap, MapFunction


@dataclass(frozen=True)
class TokenGrid:
    """The choice of the tokens of a frame.

    Attributes:
        rows, columns: cells of the grid; each gives the mean of the map over the cell.
        class_token: whether the class token is used, as token 0.
        stage: the map, see :data:`vtn.backbones.maps.feature_map.MapFunction`.
    """

    rows: int = 1
    columns: int = 1
    class_token: bool = False
    stage: int = 0

    @property
    def num_tokens(self) -> int:
        """M."""
        return self.rows * self.columns + self.class_token

    @property
    def is_pooled(self) -> bool:
        """Whether the backbone's own pooling gives the feature, and no map is needed."""
        return self == TokenGrid()

    def describe(self) -> str:
        """Returns the choice in words, which identifies features in files."""
        parts = [f"{self.rows} × {self.columns}"]
        parts += ["class token"] if self.class_token else []
        parts += [f"stage {self.stage}"] if self.stage else []
        return ", ".join(parts)

    def tokens(self, network: nn.Module, read: MapFunction, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to tokens (N, M, F); (N, F) for M = 1.

        Clips (N, 3, t, H, W) of a clip encoder are mapped to tokens (N, s, M, F) of s time steps; (N, s, F).
        """
        found = read(network, images, self.stage)
        if images.ndim == 5:
            steps = found.places.shape[:2]  # (N, s)
            return self._choose(FeatureMap(found.places.flatten(0, 1))).unflatten(0, steps)
        return self._choose(found)

    def _choose(self, found: FeatureMap) -> Tensor:
        """Returns the tokens (N, M, F) of a map; (N, F) for M = 1."""
        tokens = average_cells(found.places, self.rows, self.columns).flatten(1, 2)  # (N, r·c, F)
        if self.class_token:
            assert found.class_token is not None, "the model checks this when it is built"
            tokens = torch.cat([found.class_token[:, None].to(tokens.dtype), tokens], dim=1)
        return tokens[:, 0] if self.num_tokens == 1 else tokens


def average_cells(places: Tensor, rows: int, columns: int) -> Tensor:
    """Returns the means (N, r, c, F) over the cells of a grid on a map (N, h, w, F), in the map's dtype.

    Cell i of n covers the rows from floor(i·h / n) to ceil((i + 1)·h / n), as in
    ``torch.nn.functional.adaptive_avg_pool2d``, whose gradient is not deterministic on a GPU.
    """
    kept = nullcontext() if places.is_meta else torch.autocast(places.device.type, enabled=False)
    with kept:
        down = _members(places.shape[1], rows, places)  # (r, h)
        across = _members(places.shape[2], columns, places)  # (c, w)
        # Sums with weights 0 and 1 are exact products in every dtype; divide last.
        sums = torch.einsum("rh,nhwf->nrwf", down, places)
        sums = torch.einsum("cw,nrwf->nrcf", across, sums)
        return sums / (down.sum(1)[:, None, None] * across.sum(1)[:, None])


def _members(extent: int, cells: int, like: Tensor) -> Tensor:
    """Returns which places belong to each cell, (cells, extent) of 0 and 1 in the dtype of ``like``."""
    cell = torch.arange(cells, device=like.device)[:, None]
    place = torch.arange(extent, device=like.device)
    first = cell * extent // cells
    end = -((-(cell + 1) * extent) // cells)
    return ((place >= first) & (place < end)).to(like.dtype)
