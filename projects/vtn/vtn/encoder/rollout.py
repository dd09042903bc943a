"""Attention of [CLS] rolled out over the layers of the temporal encoder.

In the last layer [CLS] attends to states that other layers have mixed already. The roll-out of Abnar and
Zuidema (2020, arXiv 2005.00928, section 3) follows this mixing: with A the weights of a layer, averaged over
its heads, and half of each state from the residual connection, layer l mixes by ``Ã = (A + 1) / 2``, and the
result is the row of [CLS] in ``Ã_L … Ã_1``. It is computed from the last layer to the first as a row times
banded matrices, so that its cost is linear in the number of frames.

Shapes: B clips, T frames, M tokens per frame, D width, N heads, L layers, S = T · M tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vtn.encoder.temporal_encoder import TemporalEncoder


@torch.no_grad()
def attention_rollout(
    encoder: TemporalEncoder,
    features: Tensor,
    cls_token: Tensor,
    positions: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Returns the weights (B, 1 + T) of [CLS] itself and of the frames; they sum to 1 per clip.

    With several tokens per frame in the sequence, a frame has the sum of its tokens. Masked frames have
    weight 0.

    Args:
        features, cls_token, positions, mask: as in :meth:`TemporalEncoder.forward`.
    """
    M = encoder.tokens_per_frame
    token_mask = encoder.token_mask(mask)
    layers = []
    for layer, tokens in encoder.walk(features, cls_token, positions, mask):
        of_cls = layer.cls_attention(tokens, token_mask)[1].mean(1)  # (B, 1 + S)
        of_frames = layer.frame_weights(tokens, token_mask).mean(1)  # (B, S, 1 + window)
        layers.append((of_cls, of_frames, layer.half_window * M))
    row = torch.zeros_like(layers[0][0])
    row[:, 0] = 1.0
    for of_cls, of_frames, halo in reversed(layers):
        row = (row + _times(row, of_cls, of_frames, halo, M)) / 2
    return torch.cat([row[:, :1], row[:, 1:].unflatten(1, (-1, M)).sum(-1)], dim=1)


def _times(row: Tensor, of_cls: Tensor, of_frames: Tensor, halo: int, tokens_per_frame: int) -> Tensor:
    """Returns ``row · A`` (B, 1 + S) for the weights A of a layer.

    Args:
        row: (B, 1 + S).
        of_cls: (B, 1 + S), the weights of [CLS].
        of_frames: (B, S, 1 + window), see ``vtn.encoder.attention.band_weights``.
        halo: tokens on each side of the window.
    """
    M = tokens_per_frame
    B, S, columns = of_frames.shape
    window = columns - 1
    spread = row[:, 1:, None] * of_frames  # (B, S, 1 + window)
    # All tokens of a frame have the same window: their sum is added at the window's place.
    by_frame = spread[..., 1:].unflatten(1, (S // M, M)).sum(2)  # (B, frames, window)
    placed = F.fold(
        by_frame.transpose(1, 2), (1, S + 2 * halo), kernel_size=(1, window), stride=(1, M)
    )  # (B, 1, 1, S + 2 · halo)
    frames = placed.reshape(B, -1)[:, halo : halo + S]
    to_cls = spread[..., 0].sum(1, keepdim=True)
    return torch.cat([to_cls, frames], dim=1) + row[:, :1] * of_cls
