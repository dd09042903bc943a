"""Position embeddings of the temporal encoder.

A position is an integer that grows with time: the index of the frame in its source video, or
``round(seconds × position_rate)``.

Shapes: T frames, D width, P rows of the position table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.distributed.device import widest_float
from slowfast.errors import ModelError


class LearnedPositions(nn.Embedding):
    """A table of P learned rows: P − 2 for frames, one for [CLS] (row P − 2), one for padding (row P − 1).

    Positions are taken modulo P − 2, so that any position is valid, but two frames that are P − 2 positions
    apart get the same embedding. The padding row is zero and gets no gradient; this code never reads it,
    since padding is masked, but published weights contain it.
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
    """The fixed sines and cosines of Vaswani et al. (2017), section 3.5, for videos of any length.

    ``PE(p, 2i) = sin(p / 10000^(2i / D))``, ``PE(p, 2i + 1) = cos(p / 10000^(2i / D))``. [CLS] has no
    position and gets no embedding.

    Args:
        width: D, even.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def frames(self, positions: Tensor) -> Tensor:
        """Maps positions (..., T) to rows (..., T, D) float64; float32 is too coarse for hours of video.

        For a device without float64 the host computes them, and their dtype is float32.
        """
        if widest_float(positions.device) != torch.float64:
            return self.frames(positions.cpu()).float().to(positions.device)
        exponents = torch.arange(0, self.width, 2, dtype=torch.float64, device=positions.device) / self.width
        angles = positions[..., None] * 10_000.0**-exponents
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)

    def cls(self) -> float:
        """Returns 0, the position embedding of [CLS]."""
        return 0.0


class NoPositions(nn.Module):
    """No position embeddings: only the attention windows depend on the order of frames."""

    def frames(self, positions: Tensor) -> float:
        """Returns 0 for all frames."""
        return 0.0

    def cls(self) -> float:
        """Returns 0 for [CLS]."""
        return 0.0


def build_positions(
    kind: str, num_rows: int, width: int
) -> LearnedPositions | SinusoidalPositions | NoPositions:
    """Returns position embeddings: ``learned`` (a table of ``num_rows``), ``sinusoidal`` or ``none``.

    Raises:
        ModelError: for an odd width with sinusoidal positions.
    """
    if kind == "learned":
        return LearnedPositions(num_rows, width)
    if kind == "none":
        return NoPositions()
    if width % 2:
        raise ModelError(f"hidden_dim = {width}: must be even for sinusoidal positions")
    return SinusoidalPositions(width)
