"""A simple implementation of the temporal encoder's attention, used as documentation and as a test oracle.

Longformer's sliding-window attention with one global token (Beltagy et al. 2020, arXiv 2004.05150, section
3.1), as VTN uses it (Neimark et al. 2021, arXiv 2102.00719, section 3.2).

Token 0 is [CLS], token 1 + t is frame t.

Shapes: B clips, T frames, D width, N heads, E = D / N width of one head; i, j index tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def reference_attention(
    tokens: Tensor, linears: Mapping[str, nn.Module], num_heads: int, half_window: int, token_mask: Tensor
) -> Tensor:
    """Maps tokens (B, 1 + T, D) to contexts (B, 1 + T, D) with matrices of size (1 + T)².

    Args:
        linears: ``query``, ``key``, ``value`` for frames and the same names with ``_global`` for [CLS], each
            a linear layer D -> D.
        half_window: number of frames that a frame attends to on each side.
        token_mask: (B, 1 + T) bool, True where a token is real.
    """
    weights = reference_weights(tokens, linears, num_heads, half_window, token_mask)
    contexts = [
        torch.einsum("bnij,bjne->bine", weights[:, :, rows], _heads(tokens, linears[name], num_heads))
        for rows, name in ((slice(0, 1), "value_global"), (slice(1, None), "value"))
    ]
    return torch.cat(contexts, dim=1).flatten(2)


def reference_weights(
    tokens: Tensor, linears: Mapping[str, nn.Module], num_heads: int, half_window: int, token_mask: Tensor
) -> Tensor:
    """Returns the attention weights (B, N, 1 + T, 1 + T) of all tokens, row by row.

    Args:
        tokens, linears, num_heads, half_window, token_mask: as in :func:`reference_attention`.
    """
    index = torch.arange(tokens.shape[1], device=tokens.device)
    near = (index[:, None] - index).abs() <= half_window  # a frame attends to its neighbours ...
    near = near | (index == 0)  # ... and to [CLS], with the projections of frames
    real = token_mask[:, None, None]  # (B, 1, 1, 1 + T): no token attends to padding

    def weights(suffix: str, allowed: Tensor) -> Tensor:
        query, key = (_heads(tokens, linears[name + suffix], num_heads) for name in ("query", "key"))
        scores = torch.einsum("bine,bjne->bnij", query, key) / query.shape[-1] ** 0.5
        return scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1)

    frames = weights("", near & real)
    cls = weights("_global", real)  # [CLS] attends to all real tokens, with its own projections
    return torch.cat([cls[:, :, :1], frames[:, :, 1:]], dim=2)


def _heads(tokens: Tensor, linear: nn.Module, num_heads: int) -> Tensor:
    """Returns projected tokens (B, 1 + T, N, E)."""
    return linear(tokens).unflatten(-1, (num_heads, -1))
