"""Intervals of metrics, for independent videos and for groups of videos that are alike.

V videos, G groups of them, N blocks of groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slowfast.metrics.accuracy import none_if_nan

MAX_BLOCKS = 200
"""Of more groups, several are left out together."""

# Statistics that differ by less are equal but for rounding.
_EQUAL = 1e-9


class Interval(NamedTuple):
    """An estimate and its 95 % interval; limits of NaN: the interval is unknown."""

    value: float
    low: float
    high: float

    def text(self, factor: float = 1.0, digits: int = 3) -> str:
        """Returns value and limits times ``factor``, such as ``0.713 [0.650, 0.772]``; ``[–]``: unknown."""
        limits = [f"{factor * limit:.{digits}f}" for limit in (self.low, self.high)]
        return f"{factor * self.value:.{digits}f} [{', '.join(limits) if self.is_known else '–'}]"

    def percent(self) -> str:
        """Returns the interval in percent, such as ``71.3 [65.0, 77.2]``."""
        return self.text(100.0, 1)

    def to_dict(self) -> dict[str, float | None]:
        """Returns value, low and high for JSON, None where they are NaN."""
        return {name: none_if_nan(number) for name, number in self._asdict().items()}

    @property
    def is_known(self) -> bool:
        """Whether the limits are numbers."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def jackknife_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: Sequence[str],
    *,
    is_fraction: bool = True,
    corrects_bias: bool = False,
) -> Interval:
    """Returns a statistic of the videos with its interval, by the jackknife over groups of videos.

    It leaves out one group at a time, which shows variance and bias (Efron and Tibshirani 1993, chapter 11);
    the limits of a mean are those of Student's t. Samples of a bootstrap, which have videos twice and others
    not at all, spread too little where groups, or videos of a class, are few.

    Args:
        statistic: of indices of videos (n,) int64.
        groups: group of each of the V videos.
        is_fraction: whether the statistic is in 0 … 1; its variance depends least on the value as arcsin √.
        corrects_bias: whether the limits allow for a bias over few videos, such as mean average precision
            has, which is too high.

    Returns:
        Unknown limits for a single group; where all values agree, as without a mistake; and where the
        statistic is NaN without a group.
    """
    everything = np.arange(len(groups))
    value = statistic(everything)
    _, number = np.unique(np.asarray(groups), return_inverse=True)
    num_groups = int(number.max()) + 1
    N = min(num_groups, MAX_BLOCKS)
    block = np.random.default_rng(0).permutation(num_groups)[number] % N
    values = np.array([statistic(everything[block != k]) for k in range(N)]) if N > 1 else np.array([value])
    if not np.ptp([*values, value]) > _EQUAL:
        return Interval(value, math.nan, math.nan)
    whole = np.float64(value)
    if is_fraction:
        values, whole = np.arcsin(np.sqrt(np.minimum(values, 1.0))), np.arcsin(np.sqrt(min(value, 1.0)))
    centre = N * whole - (N - 1) * values.mean() if corrects_bias else whole
    half = student_quantile(N - 1) * math.sqrt((N - 1) ** 2 / N * values.var(ddof=1))
    limits = np.array([centre - half, centre + half])
    low, high = np.sin(np.clip(limits, 0, math.pi / 2)) ** 2 if is_fraction else limits
    return Interval(value, float(low), float(high))


def accuracy_interval(correct: NDArray[np.bool_], groups: Sequence[str] = ()) -> Interval:
    """Returns the fraction of correct videos with Wilson's interval, which is also valid near 0 and 1.

    Videos of one group are not independent. Their number is then replaced by that of as many independent
    videos as give the variance of the fraction over the G groups, times (t_{V−1} / t_{G−1})², which allows
    for a variance that is estimated from few groups (Korn and Graubard 1998; t are quantiles of Student's
    distribution). The variance is G / (G − 1) Σ_g (c_g − n_g p)² / V² for groups of n_g videos, c_g of them
    correct. Where all videos agree it says nothing, and the number is that of the groups.

    Args:
        correct: (V,), V > 0.
        groups: (V,) the group of each video; empty: each is a group of its own.
    """
    count, fraction = len(correct), float(correct.mean())
    effective = float(count)
    if groups:
        _, number = np.unique(np.asarray(groups), return_inverse=True)
        excess = np.bincount(number, weights=correct - fraction).astype(np.float64)
        effective = _independent_videos(fraction, count, excess)
    return Interval(fraction, *wilson_interval(fraction, effective))


def _independent_videos(fraction: float, count: int, excess: NDArray[np.float64]) -> float:
    """Returns the number of independent videos, 1 … V, that know a fraction as well as groups of videos do.

    Args:
        fraction: of correct videos.
        count: V.
        excess: (G,), by how much the correct videos of each group exceed the fraction.
    """
    num_groups = len(excess)
    if num_groups == 1 or fraction in (0.0, 1.0):
        return float(num_groups)
    variance = num_groups / (num_groups - 1) * float((excess**2).sum()) / count**2
    if variance * count**2 < 1e-9:  # all groups have the same fraction, but for rounding
        return float(count)
    # n independent videos have the variance p (1 − p) / (n − 1).
    effective = 1 + fraction * (1 - fraction) / variance
    effective *= (student_quantile(count - 1) / student_quantile(num_groups - 1)) ** 2
    return min(float(count), max(1.0, effective))


def wilson_interval(fraction: float, count: float) -> tuple[float, float]:
    """Returns the 95 % score interval of Wilson (1927) for a fraction observed in ``count`` samples.

    With p the fraction and n the count, the limits are (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
    for z = 1.96.

    >>> [round(x, 2) for x in wilson_interval(0.5, 100)]
    [0.4, 0.6]
    """
    if count == 0:
        return 0.0, 1.0
    z = 1.96
    centre = fraction + z * z / (2 * count)
    margin = z * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def student_quantile(freedom: int) -> float:
    """Returns the 97.5 % quantile of Student's t, to 0.001 or better.

    For more than six degrees of freedom by the expansion around the normal quantile (Abramowitz and Stegun
    1964, 26.7.5).
    """
    few = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469)
    if freedom <= len(few):
        return few[freedom - 1]
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def mean_interval(values: NDArray[np.floating], groups: Sequence[str]) -> Interval:
    """Returns the mean of one value per video with its interval."""
    return jackknife_interval(lambda videos: float(values[videos].mean()), groups, is_fraction=False)
