"""Labels as one value per class: smoothing, and mixtures of neighbouring clips.

B clips, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def smooth_labels(values: Tensor, fraction: float, *, independent: bool) -> Tensor:
    """Returns labels of which a fraction is divided equally among all classes.

    The method is label smoothing (Szegedy et al., 2016, section 7).

    Args:
        values: (B, K) float.
        fraction: of each label that is divided.
        independent: for a loss that decides about each class by itself, the fraction of each value is divided
            among absence and presence of its class instead, so that the value moves towards 0.5.
    """
    part = 0.5 if independent else values.sum(dim=1, keepdim=True) / values.shape[1]
    return (1 - fraction) * values + fraction * part


def mix_labels(labels: Tensor, fractions: Sequence[float]) -> Tensor:
    """Returns the labels (B, K) of mixed pairs; a last odd clip keeps its own.

    Args:
        labels: (B, K) float; clips 0 and 1, 2 and 3, … are a pair.
        fractions: of each pair, of a clip that remains its own.

    >>> import torch
    >>> mix_labels(torch.eye(3), [0.75]).tolist()
    [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]
    """
    mixed = labels.clone()
    for number, fraction in enumerate(fractions):
        pair = slice(2 * number, 2 * number + 2)
        mixed[pair] = fraction * labels[pair] + (1 - fraction) * labels[pair].flip(0)
    return mixed
