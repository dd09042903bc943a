"""Statistics of features over time, which a linear classifier can use in place of the sequence.

B clips, T frames, M tokens of a frame, F width of a feature. Features are (B, T, F) or (B, T, M, F).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LAGS = (1, 4)
"""Distances in rows of the differences in :func:`temporal_statistics`."""


def absolute_differences(features: Tensor, mask: Tensor | None = None, lag: int = 1) -> Tensor:
    """Returns |x(t) − x(t − lag)| in the shape of ``features``; 0 where either frame is missing.

    Args:
        features: (B, T, F) or (B, T, M, F).
        mask: (B, T) bool, True where a frame is real; None: all are real.
        lag: in frames, 1 or more.
    """
    if torch.compiler.is_exporting():
        return _differences_of_free_length(features, mask, lag)[0]
    if features.shape[1] <= lag:
        return torch.zeros_like(features)
    first = torch.zeros_like(features[:, :lag])
    differences = torch.cat([first, (features[:, lag:] - features[:, :-lag]).abs()], dim=1)
    if mask is None:
        return differences
    both = torch.zeros_like(mask)
    both[:, lag:] = mask[:, lag:] & mask[:, :-lag]
    # Masked features may be NaN, which a product with 0 would keep.
    return differences.masked_fill_(~_like(both, features), 0)


def _differences_of_free_length(features: Tensor, mask: Tensor | None, lag: int) -> tuple[Tensor, Tensor]:
    """Returns :func:`absolute_differences` and the pairs (B or 1, T) bool that exist, for exported graphs.

    No decision depends on the number of frames, so that one graph serves all.
    """
    T = features.shape[1]
    earlier = _later_by(features, lag)
    pairs = (torch.arange(T, device=features.device) >= lag)[None]
    if mask is not None:
        pairs = pairs & mask & _later_by(mask, lag)
    return (features - earlier).abs().masked_fill(~_like(pairs, features), 0), pairs


def _later_by(values: Tensor, lag: int) -> Tensor:
    """Returns values (B, T, …) ``lag`` rows later, with zeros in the first rows."""
    return torch.cat([torch.zeros_like(values[:, :1]).expand(-1, lag, *values.shape[2:]), values], dim=1)[
        :, : values.shape[1]
    ]


def masked_mean_and_std(features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation over the real frames, (B, F) or (B, M, F) each.

    The deviation is the root of the mean squared distance from the mean, 0 for a single frame.

    Args:
        features: (B, T, F) or (B, T, M, F).
        mask: (B, T) bool, True where a frame is real, with at least one per clip; None: all are real.
    """
    if mask is None:
        mean = features.mean(dim=1)
        squares = (features - mean[:, None]).square().mean(dim=1)
    else:
        real = _like(mask, features)
        count = real.sum(dim=1)
        mean = features.masked_fill(~real, 0).sum(dim=1) / count
        squares = (features - mean[:, None]).masked_fill_(~real, 0).square().sum(dim=1) / count
    # The root has no derivative at 0, where a feature does not change.
    return mean, torch.where(squares > 0, squares.clamp(min=1e-12).sqrt(), 0)


def temporal_statistics(features: Tensor, mask: Tensor | None = None, lags: Sequence[int] = LAGS) -> Tensor:
    """Returns mean, standard deviation and mean absolute differences over time, side by side.

    The statistics of several tokens per frame are averaged over the tokens, except the mean differences and
    deviations, which are those of the tokens: motion in one place of the frame is not averaged away before.

    Args:
        features: (B, T, F) or (B, T, M, F).
        mask: (B, T) bool, True where a frame is real, with at least one per clip; None: all are real.
        lags: distances of the differences, in frames. The mean is over the pairs of real frames; 0 without
            any pair.

    Returns:
        (B, (2 + number of lags) · F).
    """
    parts = [*masked_mean_and_std(features, mask)]
    B, T = features.shape[:2]
    for lag in lags:
        if torch.compiler.is_exporting():
            total, pairs = _differences_of_free_length(features, mask, lag)
            count = pairs.sum(dim=1).clamp(min=1)
            parts.append(total.sum(dim=1) / count.view(-1, *(1 for _ in total.shape[2:])))
        elif lag >= T:
            parts.append(torch.zeros_like(parts[0]))
        elif mask is None:
            parts.append((features[:, lag:] - features[:, :-lag]).abs().mean(dim=1))
        else:
            pairs = (mask[:, lag:] & mask[:, :-lag]).sum(dim=1).clamp(min=1)
            total = absolute_differences(features, mask, lag).sum(dim=1)
            parts.append(total / pairs.view(B, *(1 for _ in total.shape[1:])))
    statistics = torch.stack(parts, dim=1)  # (B, S, F) or (B, S, M, F)
    if statistics.ndim == 4:
        statistics = statistics.mean(dim=2)
    return statistics.flatten(1)


def _like(mask: Tensor, features: Tensor) -> Tensor:
    """Returns ``mask`` (B, T) with as many dimensions as ``features``."""
    return mask.view(*mask.shape, *(1 for _ in features.shape[2:]))
