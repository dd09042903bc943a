"""The two exact attention functions of the temporal encoder, at a cost linear in the number of frames.

Both compute the same as :mod:`vtn.encoder.attention_reference`, which uses S×S matrices. Here none is formed:

* each frame attends to the frames within half a window on each side and to [CLS]: :func:`band_attention`;
* [CLS] attends to all frames and itself: :func:`global_attention`.

Source: sliding-window and global attention of Longformer (Beltagy et al. 2020, arXiv 2004.05150, section
3.1), used as in VTN (Neimark et al. 2021, arXiv 2102.00719, section 3.2).

Shapes: B clips, S tokens of a span, Q queries, D width, N heads, E = D / N width of one head, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast.models.kernels.attention_products import attend_by_products, products_are_faster
from slowfast.tracing import is_exporting

BLOCK = 32
"""Number of queries that share one set of keys. A larger block computes more scores outside the band; a
smaller block copies the halo more often."""


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
    tokens_per_frame: int = 1,
) -> Tensor:
    """Returns the attention of frames to their neighbours and to [CLS], with one softmax over both.

    The queries are split into blocks. Each block attends to its own keys and to a halo of ``half_window``
    keys on each side in one call of scaled dot-product attention (Vaswani et al. 2017, equation 1), with
    [CLS] as key 0.

    Args:
        query: (B, Q, N, E); query i has the same frame as key ``first + i``.
        key, value: (B, S, N, E), a span of frames that includes all keys within the window of any query.
        cls_key, cls_value: (B, N, E).
        half_window: number of frames that a frame attends to on each side.
        first: index in the span of the key that belongs to the first query.
        key_mask: (B, S) bool, True where a frame is real; None means all frames are real.
        dropout: probability with which an attention weight is dropped.
        tokens_per_frame: M. For M > 1 a frame has M queries and keys in a row, which all attend to the frames
            in the window; Q, S and ``first`` are multiples of M.

    Returns:
        Contexts (B, Q, D). Rows of masked queries are finite but have no meaning.
    """
    B, Q, N, E = query.shape
    arrange = _blocks_by_index if is_exporting() else _blocks_by_padding
    blocks, key, value, allowed = arrange(
        query, key, value, cls_key, cls_value, half_window, first, key_mask, tokens_per_frame
    )
    # Compute all blocks in one call, then join them and remove the queries added at the end.
    query = blocks.flatten(0, 1)  # (B·blocks, N, block, E)
    if not is_exporting() and products_are_faster(query, key, value):
        context = attend_by_products(query, key, value, allowed, dropout)
    else:
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
    context = context.transpose(1, 2).reshape(B, blocks.shape[1] * blocks.shape[3], N * E)
    return context[:, torch.arange(Q, device=query.device)] if is_exporting() else context[:, :Q]


def _blocks_by_padding(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cls_key: Tensor,
    cls_value: Tensor,
    half_window: int,
    first: int,
    key_mask: Tensor | None,
    tokens_per_frame: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Arranges the tensors of :func:`band_attention` by block, keys and values as overlapping windows.

    Returns:
        Queries (B, blocks, N, block, E), keys and values (B·blocks, N, 1 + keys, E), and the keys that each
        query may attend to, which are (block, 1 + keys) or (B·blocks, 1, block, 1 + keys) bool.
    """
    (B, Q), S = query.shape[:2], key.shape[1]
    # Choose the number of keys per block: the block itself and a halo on each side, both whole frames.
    if (block := _block_size(half_window, tokens_per_frame)) >= Q:  # one block with all keys of the span
        blocks, block, halo, keys = 1, Q, first, S
    else:
        blocks, halo = -(-Q // block), half_window * tokens_per_frame
        keys = block + 2 * halo
    # Pad the span so that it starts `halo` keys before the first query and ends with the last block's halo.
    # A negative padding removes keys that no block uses.
    before, after = halo - first, (blocks - 1) * block + keys - (halo - first) - S
    padded = blocks > 1 and (before > 0 or after > 0)

    query = F.pad(query, (0, 0, 0, 0, 0, blocks * block - Q)) if blocks * block > Q else query
    query = query.unflatten(1, (blocks, block)).transpose(2, 3)  # (B, blocks, N, block, E)
    key, value = (
        _with_cls(_windows(x, before, after, keys, block, blocks), cls_x)  # (B·blocks, N, 1 + keys, E)
        for x, cls_x in ((key, cls_key), (value, cls_value))
    )

    # Limit each query to [CLS] and its band; exclude masked frames and the keys added around the span above.
    allowed = _band(block, keys, halo, half_window, tokens_per_frame, key.device)  # (block, 1 + keys)
    if padded or key_mask is not None:
        real = key_mask if key_mask is not None else key.new_ones(1, S, dtype=torch.bool)
        real = F.pad(real, (before, after), value=False)
        real = real.unfold(1, keys, block) if blocks > 1 else real[:, None]  # (1 or B, blocks, keys)
        real = F.pad(real, (1, 0), value=True).expand(B, -1, -1)  # [CLS] is real: (B, blocks, 1 + keys)
        allowed = allowed & real.flatten(0, 1)[:, None, None]  # (B·blocks, 1, block, 1 + keys)
    return query, key, value, allowed


def _blocks_by_index(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cls_key: Tensor,
    cls_value: Tensor,
    half_window: int,
    first: int,
    key_mask: Tensor | None,
    tokens_per_frame: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Does what :func:`_blocks_by_padding` does, without decisions that depend on the length.

    One exported graph then serves sequences of any length. Blocks and halos are gathered by index: padding
    and slices, whose sizes would depend on S, are conditions for a tracer. ``first`` is 0: queries and keys
    are of the same tokens.
    """
    S = query.shape[1]
    mask = key.new_ones(key.shape[:2], dtype=torch.bool) if key_mask is None else key_mask
    block = _block_size(half_window, tokens_per_frame)
    halo = half_window * tokens_per_frame
    # One block more than needed, since a dimension that may be 1 is a condition for a tracer, too.
    starts = torch.arange((S + block - 1) // block + 1, device=query.device)[:, None] * block  # (blocks, 1)
    rows = starts + torch.arange(block, device=query.device)
    columns = starts + torch.arange(-halo, block + halo, device=query.device)
    # Index 0 is [CLS], index 1 + i is key i; indices beyond the ends read another key, which is excluded.
    inside = (columns >= 0) & (columns < S)
    columns = F.pad(columns.clamp(min=0) + 1, (1, 0)).clamp(max=S)  # (blocks, 1 + keys)
    key, value = (
        torch.cat([cls_x[:, None], x], dim=1)[:, columns].flatten(0, 1).transpose(1, 2)
        for x, cls_x in ((key, cls_key), (value, cls_value))
    )  # (B·blocks, N, 1 + keys, E)
    real = F.pad(mask, (1, 0), value=True)[:, columns] & F.pad(inside, (1, 0), value=True)
    band = _band(block, block + 2 * halo, halo, half_window, tokens_per_frame, query.device)
    allowed = band & real.flatten(0, 1)[:, None, None]  # (B·blocks, 1, block, 1 + keys)
    query = query[:, rows.clamp(max=S - 1)].transpose(2, 3)  # (B, blocks, N, block, E)
    return query, key, value, allowed


def band_weights(
    query: Tensor,
    key: Tensor,
    cls_key: Tensor,
    *,
    half_window: int,
    key_mask: Tensor | None,
    tokens_per_frame: int,
) -> Tensor:
    """Returns the weights of :func:`band_attention`, which does not keep them: (B, N, S, 1 + C).

    Column 0 is [CLS]. The other C = (2 · ``half_window`` + 1) · M columns of token i are the tokens of the
    frames in its window in their order: column 1 + c is token (frame of i − ``half_window``) · M + c. Columns
    outside of the sequence have weight 0.

    Args:
        query, key: (B, S, N, E), of all tokens of the sequence except [CLS].
        cls_key: (B, N, E).
        half_window, key_mask, tokens_per_frame: as in :func:`band_attention`.
    """
    B, S, _, E = query.shape
    M = tokens_per_frame
    halo = half_window * M
    window = 2 * halo + M
    padded = F.pad(key, (0, 0, 0, 0, halo, halo)).unfold(1, window, M)  # (B, frames, N, E, window)
    frames = query.unflatten(1, (S // M, M))  # (B, frames, M, N, E)
    near = torch.einsum("bfmne,bfnew->bnfmw", frames, padded).flatten(2, 3)  # (B, N, S, window)
    to_cls = torch.einsum("bsne,bne->bns", query, cls_key)[..., None]
    scores = torch.cat([to_cls, near], dim=-1) * E**-0.5
    real = key_mask if key_mask is not None else key.new_ones(B, S, dtype=torch.bool)
    real = F.pad(real, (halo, halo), value=False).unfold(1, window, M)  # (B, frames, window)
    real = F.pad(real, (1, 0), value=True).repeat_interleave(M, dim=1)  # (B, S, 1 + window)
    return scores.masked_fill(~real[:, None], float("-inf")).softmax(-1)


def _block_size(half_window: int, tokens_per_frame: int) -> int:
    """Returns the number of queries per block: those of whole frames, half a window or more."""
    return max(-(-BLOCK // tokens_per_frame), half_window) * tokens_per_frame


def _band(
    block: int, keys: int, halo: int, half_window: int, tokens_per_frame: int, device: torch.device
) -> Tensor:
    """Returns the keys to which each query of a block may attend, by distance only: (block, 1 + keys) bool.

    Query r may attend to [CLS], which is the first key, and to the keys c whose frame is at most
    ``half_window`` frames from that of key r + halo.
    """
    row, column = torch.arange(block, device=device) + halo, torch.arange(keys, device=device)
    if tokens_per_frame > 1:
        row, column = row // tokens_per_frame, column // tokens_per_frame
    return F.pad((row[:, None] - column).abs() <= half_window, (1, 0), value=True)


def _windows(x: Tensor, before: int, after: int, size: int, step: int, blocks: int) -> Tensor:
    """Returns overlapping windows of the padded span as a view: (B, S, N, E) -> (B, blocks, N, size, E)."""
    if blocks == 1:  # not by unfold, whose sizes torch.compile would compile for each length
        return x.transpose(1, 2)[:, None]
    if before or after:
        x = F.pad(x, (0, 0, 0, 0, before, after))
    return x.unfold(1, size, step).transpose(-1, -2)


def _with_cls(windows: Tensor, cls_row: Tensor) -> Tensor:
    """Puts [CLS] before each window: (B, blocks, N, keys, E), (B, N, E) -> (B·blocks, N, 1 + keys, E)."""
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
    """Returns the attention of [CLS] to all tokens without computing the keys and values of the tokens.

    For the scores, ``q · (W x + b) = (Wᵀ q) · x + q · b``; the term ``q · b`` is the same for all tokens and
    cancels in the softmax. For the values, ``Σ aⱼ (W xⱼ + b) = W (Σ aⱼ xⱼ) + b Σ aⱼ``; the sum of the weights
    a is 1 unless dropout has removed some of them. The result equals softmax attention with separate
    projections for global tokens (Longformer, arXiv 2004.05150, section 3.1).

    Args:
        query: (B, N, E), scaled by ``1 / sqrt(E)``.
        tokens: (B, S, D).
        key_weight, value_weight: (N, E, D).
        value_bias: (N, E).
        token_mask: (B, S) bool, True where a token is real; None means all tokens are real.
        dropout: probability with which an attention weight is dropped.

    Returns:
        The context (B, D), and the attention weights before dropout (B, N, S) in float32 or a wider dtype.
    """
    # Multiply the query by the key weights, so that it can be compared with the tokens themselves.
    folded = torch.einsum("bne,ned->bnd", query, key_weight)
    scores = torch.matmul(folded, tokens.transpose(1, 2))  # (B, N, S)
    if token_mask is not None:
        scores = scores.masked_fill(~token_mask[:, None], float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    del scores  # frees memory: they are as large as the weights
    # Average the tokens first, then project the average with the value weights.
    kept = F.dropout(weights, dropout) if dropout else weights
    pooled = torch.matmul(kept.to(tokens.dtype), tokens)  # (B, N, D)
    context = torch.einsum("bnd,ned->bne", pooled, value_weight)
    bias = value_bias if dropout == 0 else value_bias * kept.sum(-1, keepdim=True).to(value_bias.dtype)
    return (context + bias).flatten(1), weights
