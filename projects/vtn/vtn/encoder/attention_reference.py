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
    heads = {name: linear(tokens).unflatten(-1, (num_heads, -1)) for name, linear in linears.items()}

    def attend(suffix: str, allowed: Tensor) -> Tensor:
        scores = torch.einsum("bine,bjne->bnij", heads["query" + suffix], heads["key" + suffix])
        scores = scores / heads["query"].shape[-1] ** 0.5
        weights = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1)
        return torch.einsum("bnij,bjne->bine", weights, heads["value" + suffix]).flatten(2)

    index = torch.arange(tokens.shape[1], device=tokens.device)
    near = (index[:, None] - index).abs() <= half_window  # a frame attends to its neighbours ...
    near = near | (index == 0)  # ... and to [CLS], with the projections of frames
    real = token_mask[:, None, None]  # (B, 1, 1, 1 + T): no token attends to padding
    frames = attend("", near & real)
    cls = attend("_global", real)  # [CLS] attends to all real tokens, with its own projections
    return torch.cat([cls[:, :1], frames[:, 1:]], dim=1)
