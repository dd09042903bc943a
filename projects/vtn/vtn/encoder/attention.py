"""The two exact attentions of the temporal encoder, at linear cost in the number of frames.

Both equal :mod:`vtn.encoder.attention_reference`, which says in thirty lines and N×N matrices what is computed.
Here no N×N matrix is formed:

* a frame sees the frames within half a window on each side, and [CLS]: :func:`band_attention`;
* [CLS] sees every frame and itself: :func:`global_attention`.

B clips, T frames, S tokens of a span, Q queries, D width, N heads, E = D / N width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 32
"""Queries that share one set of keys. More waste keys outside the band, fewer copy the halo more often."""


def band_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cls_key: Tensor,
    cls_value: Tensor,
    *,
    half_window: int,
    first: int = 0,
    key_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of frames to their neighbours and to [CLS], in one softmax.

    The queries are cut into blocks; a block meets its own keys and a halo of half a window on each side
    in one call of scaled dot-product attention, with [CLS] as key 0.

    Args:
        query: (B, Q, N, E); query i stands where key ``first + i`` does.
        key, value: (B, S, N, E), a span of frames that holds everything the queries may see.
        cls_key, cls_value: (B, N, E).
        half_window: frames seen on each side.
        first: place of the first query in the span.
        key_mask: (B, S) bool, True where a frame is real; None: all are.
        dropout: probability with which an attention weight is dropped.

    Returns:
        (B, Q, D). Rows of masked queries hold something finite that nobody may read.
    """
    B, Q, N, E = query.shape
    S = key.shape[1]
    block = max(BLOCK, half_window)
    if block >= Q:  # One block that meets the whole span.
        blocks, block, halo, keys = 1, Q, first, S
    else:
        blocks, halo = -(-Q // block), half_window
        keys = block + 2 * halo
    # The span as the blocks want it: it begins `halo` before the first query and ends with the last block's
    # halo. A negative padding cuts off what no block sees.
    before, after = halo - first, (blocks - 1) * block + keys - (halo - first) - S
    padded = blocks > 1 and (before > 0 or after > 0)

    query = F.pad(query, (0, 0, 0, 0, 0, blocks * block - Q)) if blocks * block > Q else query
    query = query.unflatten(1, (blocks, block)).transpose(2, 3).flatten(0, 1)  # (B·blocks, N, block, E)
    key, value = (
        _with_cls(_windows(x, before, after, keys, block), cls_x)  # (B·blocks, N, 1 + keys, E)
        for x, cls_x in ((key, cls_key), (value, cls_value))
    )

    # allowed: which of [CLS] and `keys` a query of a block sees.
    row, column = torch.arange(block, device=key.device), torch.arange(keys, device=key.device)
    allowed = (row[:, None] + halo - column).abs() <= half_window  # (block, keys)
    allowed = F.pad(allowed, (1, 0), value=True)
    if padded or key_mask is not None:
        real = key_mask if key_mask is not None else key.new_ones(1, S, dtype=torch.bool)
        real = F.pad(real, (before, after), value=False).unfold(1, keys, block)  # (B or 1, blocks, keys)
        real = F.pad(real, (1, 0), value=True).expand(B, -1, -1).flatten(0, 1)
        allowed = allowed & real[:, None, None]  # (B·blocks, 1, block, 1 + keys)

    context = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
    return context.transpose(1, 2).reshape(B, blocks * block, N * E)[:, :Q]


def _windows(x: Tensor, before: int, after: int, size: int, step: int) -> Tensor:
    """(B, S, N, E) -> (B, blocks, N, size, E): overlapping windows of the padded span, as a view of it."""
    if before or after:
        x = F.pad(x, (0, 0, 0, 0, before, after))
    return x.unfold(1, size, step).transpose(-1, -2)


def _with_cls(windows: Tensor, cls_row: Tensor) -> Tensor:
    """(B, blocks, N, keys, E) and (B, N, E) -> (B·blocks, N, 1 + keys, E), [CLS] in front."""
    cls_rows = cls_row[:, None, :, None].expand(-1, windows.shape[1], -1, -1, -1)
    return torch.cat([cls_rows, windows], dim=3).flatten(0, 1)


def global_attention(
    query: Tensor,
    tokens: Tensor,
    key_weight: Tensor,
    value_weight: Tensor,
    value_bias: Tensor,
    *,
    token_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Attention of [CLS] to all tokens without their keys and values ever being formed.

    ``q · (W x + b) = (Wᵀ q) · x + q · b``, whose last term is the same for all tokens and falls out of the
    softmax; and ``Σ aⱼ (W xⱼ + b) = W (Σ aⱼ xⱼ) + b Σ aⱼ``, where the sum of the weights a is 1 unless
    dropout took some of them away.

    Args:
        query: (B, N, E), scaled by ``1 / sqrt(E)``.
        tokens: (B, S, D).
        key_weight, value_weight: (N, E, D).
        value_bias: (N, E).
        token_mask: (B, S) bool, True where a token is real; None: all are.
        dropout: probability with which an attention weight is dropped.

    Returns:
        the context (B, D), and the attention weights before dropout (B, N, S) float32 (or wider).
    """
    folded = torch.einsum("bne,ned->bnd", query, key_weight)
    scores = torch.matmul(folded, tokens.transpose(1, 2))  # (B, N, S)
    if token_mask is not None:
        scores = scores.masked_fill(~token_mask[:, None], float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    del scores  # Of a long sequence these are large, too.
    kept = F.dropout(weights, dropout) if dropout else weights
    pooled = torch.matmul(kept.to(tokens.dtype), tokens)  # (B, N, D)
    context = torch.einsum("bnd,ned->bne", pooled, value_weight)
    bias = value_bias if dropout == 0 else value_bias * kept.sum(-1, keepdim=True).to(value_bias.dtype)
    return (context + bias).flatten(1), weights
