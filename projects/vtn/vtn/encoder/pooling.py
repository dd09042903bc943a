"""Pooling of the encoder's final states into one state per clip.

B clips, S tokens without [CLS], D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slowfast.features.temporal_statistics import masked_mean_and_std

WIDTHS = {"cls": 1, "cls+mean+std": 3}
"""Name of a pooling -> width of its result in multiples of D."""


def pool_states(states: Tensor, mask: Tensor | None) -> Tensor:
    """Returns [CLS] beside mean and standard deviation of the frames' states, (B, 3 · D).

    Args:
        states: final states (B, 1 + S, D), [CLS] first.
        mask: (B, 1 + S) bool, True where a token is real; None: all are real.
    """
    frames = masked_mean_and_std(states[:, 1:], None if mask is None else mask[:, 1:])
    return torch.cat([states[:, 0], *frames], dim=1)
