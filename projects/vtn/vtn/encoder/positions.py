"""How the temporal encoder is told where in time a frame stands.

A position is a whole number that grows with time: the index of the frame in its source video, or
``round(seconds × position_rate)``. B clips, T frames, D width, P rows of the position table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ModelError


class LearnedPositions(nn.Embedding):
    """A table of P learned rows: P − 2 for frames, one for [CLS] (row P − 2), one for padding (row P − 1).

    Positions count modulo P − 2, so that they never run out but repeat: two frames P − 2 positions apart
    look alike. The row of padding is zero and takes no gradient; nothing reads it here, because padding is
    masked, but the published weights have it.
    """

    def __init__(self, num_rows: int, width: int) -> None:
        super().__init__(num_rows, width, padding_idx=num_rows - 1)

    def frames(self, positions: Tensor) -> Tensor:
        """Maps positions (..., T) to rows (..., T, D)."""
        return F.embedding(positions % (self.num_embeddings - 2), self.weight)

    def cls(self) -> Tensor:
        """Returns the row (D,) of [CLS]."""
        return self.weight[self.num_embeddings - 2]


class SinusoidalPositions(nn.Module):
    """The fixed sines and cosines of Vaswani et al. (2017), section 3.5; they reach any length.

    [CLS] stands at no time, and gets none.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def frames(self, positions: Tensor) -> Tensor:
        """Maps positions (..., T) to rows (..., T, D) float64: float32 angles would blur after some hours."""
        exponents = torch.arange(0, self.width, 2, dtype=torch.float64, device=positions.device) / self.width
        angles = positions[..., None] * 10_000.0**-exponents
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)

    def cls(self) -> float:
        return 0.0


class NoPositions(nn.Module):
    """Order shows only through the attention windows."""

    def frames(self, positions: Tensor) -> float:
        return 0.0

    def cls(self) -> float:
        return 0.0


def build_positions(
    kind: str, num_rows: int, width: int
) -> LearnedPositions | SinusoidalPositions | NoPositions:
    """Positions of a ``kind``: ``learned`` (a table of ``num_rows``), ``sinusoidal``, ``none``."""
    if kind == "learned":
        if num_rows < 3:
            raise ModelError(
                f"max_position_embeddings = {num_rows}: leaves no row for frames beside those of [CLS] and "
                "padding; use 3 or more"
            )
        return LearnedPositions(num_rows, width)
    if kind == "sinusoidal":
        if width % 2:
            raise ModelError(f"hidden_dim = {width}: sinusoidal positions come in pairs; use an even width")
        return SinusoidalPositions(width)
    if kind == "none":
        return NoPositions()
    raise ModelError(f"position = {kind!r}: is not known; use learned, sinusoidal or none")
