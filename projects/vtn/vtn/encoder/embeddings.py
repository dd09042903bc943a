"""The tokens of the temporal encoder: features and [CLS] with their position embeddings.

A position is an integer that grows with time: the index of the frame in its source video, or
``round(seconds × position_rate)``.

Shapes: B clips, T frames, M tokens of a frame, D width, P rows of the position table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.distributed.device import widest_float
from vtn.arguments.groups import EncoderConfig
from vtn.encoder.encoder_layer import NORM_EPSILON


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


class NoPositions(nn.Module):
    """No position embeddings: only the attention windows depend on the order of frames."""

    def frames(self, positions: Tensor) -> float:
        """Returns 0 for all frames."""
        return 0.0

    def cls(self) -> float:
        """Returns 0 for [CLS]."""
        return 0.0


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

        For a device without float64 the rows are computed on the CPU, and are float32.
        """
        if widest_float(positions.device) != torch.float64:
            return self.frames(positions.cpu()).float().to(positions.device)
        exponents = torch.arange(0, self.width, 2, dtype=torch.float64, device=positions.device) / self.width
        angles = positions[..., None] * 10_000.0**-exponents
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)

    def cls(self) -> float:
        """Returns 0 for [CLS]."""
        return 0.0


def build_positions(
    kind: str, num_rows: int, width: int
) -> LearnedPositions | NoPositions | SinusoidalPositions:
    """Returns position embeddings: ``learned`` (a table of ``num_rows``), ``sinusoidal`` or ``none``."""
    if kind == "learned":
        return LearnedPositions(num_rows, width)
    if kind == "none":
        return NoPositions()
    return SinusoidalPositions(width)


class Embeddings(nn.Module):
    """The token embeddings: position and token type (1 for [CLS], 0 for frames) are added, then LayerNorm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.position_embeddings = build_positions(config.position, config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(config.hidden_dropout)
        # Some versions of transformers also store the row numbers of the position table.
        self.register_load_state_dict_pre_hook(_drop_position_ids)

    def frames(self, features: Tensor, positions: Tensor, spatial: Tensor | None = None) -> Tensor:
        """Maps features (B, T, D) at positions (B, T) to frame tokens (B, T, D).

        Features (B, T, M, D) with spatial positions (M, D) become the tokens (B, T · M, D).
        """
        rows = self.position_embeddings.frames(positions)
        if spatial is not None:
            rows = rows[..., None, :] + spatial if isinstance(rows, Tensor) else rows + spatial
            return self._add_type_and_normalize((features + rows).flatten(1, 2), token_type=0)
        return self._add_type_and_normalize(features + rows, token_type=0)

    def cls(self, cls_token: Tensor) -> Tensor:
        """Maps the learned [CLS] token (B, 1, D) to token 0 of the sequence (B, 1, D)."""
        return self._add_type_and_normalize(cls_token + self.position_embeddings.cls(), token_type=1)

    def _add_type_and_normalize(self, x: Tensor, token_type: int) -> Tensor:
        weight = self.token_type_embeddings.weight[token_type]
        return self.dropout(self.LayerNorm((x + weight).to(weight.dtype)))


def _drop_position_ids(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    state_dict.pop(prefix + "position_ids", None)
