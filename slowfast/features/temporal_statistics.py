"""Statistics of features over time, which a linear classifier can use in place of the sequence.

Masked frames are left out by products with 0, since filling them takes several times as long on a CPU; they
must be finite.

B clips, T frames, M tokens of a frame, F width of a feature. Features are (B, T, F) or (B, T, M, F).
"""

from __future__ import annotations

import torch
from torch import Tensor

from slowfast.tracing import is_exporting

LAGS = (1, 4)
"""Distances in rows of the differences in :func:`temporal_statistics`."""


def zero_masked(features: Tensor, mask: Tensor | None, *, in_place: bool = False) -> Tensor:
    """Returns the features with 0 in masked frames, which may be NaN; unchanged where ``mask`` is None.

    Args:
        features: (B, T, F) or (B, T, M, F).
        mask: (B, T) bool, True where a frame is real; None: all are real.
        in_place: overwrite ``features``.
    """
    if mask is None:
        return features
    lost = ~_like(mask, features)
    return features.masked_fill_(lost, 0) if in_place else features.masked_fill(lost, 0)


def absolute_differences(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Returns |x(t) − x(t − 1)| in the shape of ``features``; 0 where either frame is missing.

    Args:
        features: (B, T, F) or (B, T, M, F), finite.
        mask: (B, T) bool, True where a frame is real; None: all are real.
    """
    if is_exporting():
        return _differences_of_free_length(features, mask, 1)[0]
    if features.shape[1] <= 1:
        return torch.zeros_like(features)
    differences = _differences(features, 1)
    if mask is not None:
        differences = differences * _like(_pairs(mask, 1).to(features.dtype), features)
    return torch.cat([torch.zeros_like(features[:, :1]), differences], dim=1)


def append_differences(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Returns the features with :func:`absolute_differences` as further channels, (…, 2 · F).

    Args:
        features, mask: as in :func:`absolute_differences`.
    """
    if is_exporting() or (features.requires_grad and torch.is_grad_enabled()):
        return torch.cat([features, absolute_differences(features, mask)], dim=-1)
    # Without gradients both halves are written in place, which saves half of the time.
    F = features.shape[-1]
    both = features.new_empty(*features.shape[:-1], 2 * F)
    both[..., :F] = features
    both[:, :1, ..., F:] = 0
    later = both[:, 1:, ..., F:]
    torch.sub(features[:, 1:], features[:, :-1], out=later)
    later.abs_()
    if mask is not None:
        later.mul_(_like(_pairs(mask, 1).to(features.dtype), features))
    return both


def _differences(features: Tensor, lag: int) -> Tensor:
    """Returns |x(t) − x(t − lag)| of the rows t from ``lag`` on."""
    differences = features[:, lag:] - features[:, :-lag]
    return differences.abs() if differences.requires_grad else differences.abs_()


def _pairs(mask: Tensor, lag: int) -> Tensor:
    """Returns whether both frames of the differences are real, (B, T − lag) bool."""
    return mask[:, lag:] & mask[:, :-lag]


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
        features: (B, T, F) or (B, T, M, F), finite.
        mask: (B, T) bool, True where a frame is real, with at least one per clip; None: all are real.
    """
    mean = _mean(features, mask)
    distances = features - mean[:, None]
    squares = _mean(distances.square() if distances.requires_grad else distances.square_(), mask)
    # The root has no derivative at 0, where a feature does not change.
    return mean, torch.where(squares > 0, squares.clamp(min=1e-12).sqrt(), 0)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Returns the mean (B, …) over the rows of values (B, T, …) where the mask (B, T) is True.

    The mean over no row is 0.
    """
    if mask is None:
        return values.mean(dim=1)
    # Numbers of frames are not exact in 16 bits, and above 65,504 infinite in float16.
    weights = mask.to(torch.promote_types(values.dtype, torch.float32))
    weights = (weights / weights.sum(dim=1, keepdim=True).clamp(min=1)).to(values.dtype)
    if is_exporting() or torch.is_autocast_enabled(values.device.type):
        return (values * _like(weights, values)).sum(dim=1)
    # A product of matrices takes a third of the time; autocast would compute it in half precision.
    return torch.bmm(weights[:, None], values.flatten(2)).view(len(values), *values.shape[2:])


def temporal_statistics(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Returns mean, standard deviation and mean absolute differences over time, side by side.

    The differences are over each of ``LAGS``: the mean over the pairs of real frames, 0 without any pair.

    The statistics of several tokens per frame are averaged over the tokens, except the mean differences and
    deviations, which are those of the tokens: motion in one place of the frame is not averaged away before.

    Args:
        features: (B, T, F) or (B, T, M, F), finite.
        mask: (B, T) bool, True where a frame is real, with at least one per clip; None: all are real.

    Returns:
        (B, (2 + number of lags) · F).
    """
    parts = [*masked_mean_and_std(features, mask)]
    T = features.shape[1]
    for lag in LAGS:
        if is_exporting():
            total, pairs = _differences_of_free_length(features, mask, lag)
            count = pairs.sum(dim=1).clamp(min=1)
            parts.append(total.sum(dim=1) / count.view(-1, *(1 for _ in total.shape[2:])))
        elif lag >= T:
            parts.append(torch.zeros_like(parts[0]))
        else:
            parts.append(_mean(_differences(features, lag), None if mask is None else _pairs(mask, lag)))
    statistics = torch.stack(parts, dim=1)  # (B, S, F) or (B, S, M, F)
    if statistics.ndim == 4:
        statistics = statistics.mean(dim=2)
    return statistics.flatten(1)


def _like(mask: Tensor, features: Tensor) -> Tensor:
    """Returns ``mask`` (B, n) with as many dimensions as ``features``."""
    return mask.view(*mask.shape, *(1 for _ in features.shape[2:]))
