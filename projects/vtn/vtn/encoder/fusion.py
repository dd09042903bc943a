"""Fusion of the M tokens of a frame into one vector, before the temporal encoder.

The third way, ``sequence``, has no module here: the encoder takes all tokens into its sequence.

Shapes: B clips, T frames, M tokens of a frame, F width of a token, C width after the linear layer, Q queries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtn.arguments.groups import FusionConfig

_INITIAL_STD = 0.02


class ConcatTokens(nn.Module):
    """One linear layer for all tokens, whose results stand side by side.

    With one token per frame this is a linear layer before that of the encoder, a bottleneck.

    Args:
        feature_dim: F.
        num_tokens: M.
        dim: C.

    Attributes:
        width: M · C, the width of the result.
    """

    def __init__(self, feature_dim: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(feature_dim, dim)
        self.width = num_tokens * dim

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (B, T, M, F) to one vector per frame (B, T, M · C), (B, T, F) to (B, T, C)."""
        return self.project(tokens).flatten(2)


class AttendTokens(nn.Module):
    """Learned queries that attend to the tokens of a frame, whose results stand side by side.

    A token is projected to C; its key also has the learned position of its place in the frame. The weights of
    a query are ``softmax(q · k / sqrt(C))`` over the tokens (Vaswani et al. 2017, equation 1).

    Args:
        feature_dim: F.
        num_tokens: M.
        dim: C.
        num_queries: Q.

    Attributes:
        width: Q · C, the width of the result.
    """

    def __init__(self, feature_dim: int, num_tokens: int, dim: int, num_queries: int) -> None:
        super().__init__()
        self.project = nn.Linear(feature_dim, dim)
        self.positions = nn.Parameter(torch.randn(num_tokens, dim) * _INITIAL_STD)
        self.queries = nn.Parameter(torch.randn(num_queries, dim))
        self.width = num_queries * dim

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (B, T, M, F) to one vector per frame (B, T, Q · C)."""
        values = self.project(tokens)  # (B, T, M, C)
        weights = self._weights(values).to(values.dtype)
        return torch.einsum("btqm,btmc->btqc", weights, values).flatten(2)

    def weights(self, tokens: Tensor) -> Tensor:
        """Returns the weight (B, T, Q, M) that each query gives each token of (B, T, M, F)."""
        return self._weights(self.project(tokens))

    def _weights(self, values: Tensor) -> Tensor:
        """Returns the weights (B, T, Q, M) of projected tokens (B, T, M, C)."""
        keys = values + self.positions
        scores = torch.einsum("qc,btmc->btqm", self.queries, keys) * keys.shape[-1] ** -0.5
        return scores.softmax(-1)


def build_fusion(
    config: FusionConfig, *, feature_dim: int, num_tokens: int, width: int
) -> ConcatTokens | AttendTokens | None:
    """Returns the module that fuses M tokens; None for ``sequence``, and for one token without a width C.

    Args:
        config: the kind, Q, and C; C = 0: ``width`` for ``attend``, ``width`` / M rounded for ``concat``. One
            token has a layer only for ``concat`` and C above 0: a bottleneck from (B, T, F) to (B, T, C).
        feature_dim: F.
        num_tokens: M.
        width: the width of the part of the model that takes the result.
    """
    kind, dim = config.kind, config.dim
    if kind == "sequence" or (num_tokens == 1 and not (kind == "concat" and dim)):
        return None
    if kind == "attend":
        return AttendTokens(feature_dim, num_tokens, dim or width, config.queries)
    return ConcatTokens(feature_dim, num_tokens, dim or max(1, round(width / num_tokens)))
