"""The spread of a metric over a few repetitions, such as the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A metric over K repetitions.

    Attributes:
        mean: of the repetitions.
        std: standard deviation between them, with K − 1 in the denominator; NaN for one repetition.
        low, high: limits of the 95 % interval of the mean; NaN for one repetition.
    """

    mean: float
    std: float
    low: float
    high: float


def spread_of(values: Sequence[float], largest: float = 100.0) -> Spread:
    """Returns mean, standard deviation and the 95 % interval of the mean by Student's t.

    Args:
        largest: possible value of the metric, at which the interval is cut off, as at 0.

    >>> spread = spread_of([70.0, 80.0, 75.0])
    >>> [round(value, 2) for value in (spread.mean, spread.std, spread.low, spread.high)]
    [75.0, 5.0, 62.58, 87.42]
    """
    import numpy as np

    from slowfast.metrics.intervals import student_quantile  # here, since it imports torch

    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Spread(mean, float("nan"), float("nan"), float("nan"))
    std = float(np.std(values, ddof=1))
    half = student_quantile(count - 1) * std / count**0.5
    return Spread(mean, std, max(mean - half, 0.0), min(mean + half, largest))
