"""Measurements of the states of a model, in words, for a training that makes no progress.

B clips, T frames, M tokens of a frame, F width of a feature, D width of a state, L layers, N heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slowfast.distributed.device import widest_float


def spread_between_clips(states: Tensor) -> float:
    """Returns the mean distance of states (B, D) from their mean, relative to the mean norm of a state.

    0 where all clips have the same state; about 1 for independent states without a common part.
    """
    states = states.detach().to(widest_float(states.device))
    distance = (states - states.mean(dim=0)).norm(dim=1).mean()
    return float(distance / states.norm(dim=1).mean().clamp(min=1e-12))


def attention_evenness(weights: Tensor, mask: Tensor | None) -> float:
    """Returns the entropy of attention over the real frames, relative to that of equal weights.

    Args:
        weights: (L, B, N, T), or (L, B, N, T, M) for tokens, what [CLS] gives each frame.
        mask: (B, T) bool, True where a frame is real; None: all are.

    Returns:
        The mean over layers, clips and heads: 1 where all frames have the same weight, 0 where one has all.
        1 for clips of one frame.
    """
    weights = weights.detach().to(widest_float(weights.device))
    tokens = 1
    if weights.ndim == 5:
        tokens = weights.shape[-1]
        weights = weights.flatten(3)  # (L, B, N, T × M)
    if mask is None:
        mask = torch.ones(weights.shape[1], weights.shape[3] // tokens, device=weights.device)
    frames = mask.sum(dim=1)
    largest = (frames.to(weights) * tokens).log()  # (B,)
    if float(largest.max()) == 0.0:
        return 1.0
    fractions = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    entropy = -(fractions * fractions.clamp(min=1e-30).log()).sum(dim=-1)  # (L, B, N)
    relative = torch.where(largest[:, None] > 0, entropy / largest.clamp(min=math.log(2))[:, None], 1.0)
    return float(relative.mean())
