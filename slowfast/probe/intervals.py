"""Intervals of accuracies by a bootstrap over groups of videos.

V videos, G groups, S samples of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2000
"""S."""


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    def percent(self) -> str:
        """Returns the interval in percent, such as ``71.3 [65.0, 77.2]``."""
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: Sequence[str],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """Returns a statistic of the videos with its percentile interval over samples of groups.

    Each sample draws G groups with replacement and takes all videos of them (Efron and Tibshirani 1993,
    chapter 13). Samples whose statistic is NaN are left out.

    Args:
        statistic: of indices of videos (n,) int64, which may occur several times.
        groups: group of each of the V videos.
    """
    _, number = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(number, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    rng = np.random.default_rng(seed)
    values = np.empty(samples)
    for sample in range(samples):
        drawn = rng.integers(len(members), size=len(members))
        values[sample] = statistic(np.concatenate([members[group] for group in drawn]))
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return Interval(statistic(np.arange(len(groups))), float(low), float(high))


def mean_interval(values: NDArray[np.floating], groups: Sequence[str]) -> Interval:
    """Returns the mean of one value per video with its interval, such as of 0 and 1 for an accuracy."""
    return bootstrap_interval(lambda videos: float(values[videos].mean()), groups)
