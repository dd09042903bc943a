"""What one attention of the temporal encoder computes, in the plainest form: documentation and test oracle.

Longformer's sliding-window attention with one global token, as VTN uses it (Neimark et al. 2021, section
3.2; Beltagy et al. 2020). Token 0 is [CLS], token 1 + t is frame t. B clips, T frames, D width, N heads,
E = D / N width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def reference_attention(
    tokens: Tensor, linears: Mapping[str, nn.Module], num_heads: int, half_window: int, token_mask: Tensor
) -> Tensor:
    """Maps tokens (B, 1 + T, D) to contexts (B, 1 + T, D), with matrices of size (1 + T)².

    Args:
        linears: ``query``, ``key``, ``value`` (frames) and the same with ``_global`` ([CLS]), each D -> D.
        half_window: frames seen on each side.
        token_mask: (B, 1 + T) bool, True where a token is real.
    """
    heads = {name: linear(tokens).unflatten(-1, (num_heads, -1)) for name, linear in linears.items()}

    def attend(suffix: str, seen: Tensor) -> Tensor:
        scores = torch.einsum("bine,bjne->bnij", heads["query" + suffix], heads["key" + suffix])
        scores = scores / heads["query"].shape[-1] ** 0.5
        weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1)
        return torch.einsum("bnij,bjne->bine", weights, heads["value" + suffix]).flatten(2)

    place = torch.arange(tokens.shape[1], device=tokens.device)
    near = (place[:, None] - place).abs() <= half_window  # a frame sees its neighbours ...
    near = near | (place == 0)  # ... and [CLS], through the ordinary projections
    real = token_mask[:, None, None]  # (B, 1, 1, 1 + T): padding is seen by nobody
    frames = attend("", near & real)
    cls = attend("_global", real)  # [CLS] sees everything, through projections of its own
    return torch.cat([cls[:, :1], frames[:, 1:]], dim=1)
