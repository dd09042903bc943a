"""Intervals of metrics, for independent videos and for groups of videos that are alike.

V videos, K classes, G groups of videos, S bootstrap samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slowfast.metrics.accuracy import mean_average_precision, none_if_nan

BOOTSTRAP_SAMPLES = 2000
MAX_BLOCKS = 200
"""Of more groups, the jackknife leaves out several together."""

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

    def unless_limits_agree(self) -> Interval:
        """Returns the interval, or one with unknown limits where all samples of a bootstrap agree."""
        return self if self.low < self.high else Interval(self.value, math.nan, math.nan)

    @property
    def is_known(self) -> bool:
        """Whether the limits are numbers."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: Sequence[str],
    *,
    samples: int = BOOTSTRAP_SAMPLES,
) -> Interval:
    """Returns a statistic of the videos with its interval over samples of groups, see :func:`sample_limits`.

    Each sample draws G groups with replacement and takes all videos of them (Efron and Tibshirani 1993,
    chapter 13). Samples whose statistic is NaN are left out.

    Args:
        statistic: of indices of videos (n,) int64, which may occur several times.
        groups: group of each of the V videos.
    """
    _, number = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(number, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    are_single = len(members) == len(order)
    rng = np.random.default_rng(0)
    values = np.empty(samples)
    for sample in range(samples):
        drawn = rng.integers(len(members), size=len(members))
        videos = order[drawn] if are_single else np.concatenate([members[group] for group in drawn])
        values[sample] = statistic(videos)
    value = statistic(np.arange(len(groups)))
    return Interval(value, *sample_limits(values, value, len(members)))


def sample_limits(values: NDArray[np.float64], value: float, num_groups: int) -> tuple[float, float]:
    """Returns the 95 % limits of a statistic from its values (S,) in S bootstrap samples of G groups.

    The percentiles 2.5 and 97.5 would be too narrow where groups are few: the samples spread too little, by
    √((G − 1) / G), and their spread is itself an estimate. They would also be too high where the statistic
    is: mean average precision of few videos is, and that of a sample, which has videos twice, even more.
    Therefore the percentiles are Φ(2 z ± √(G / (G − 1)) t), where t is the 97.5 % quantile of Student's
    distribution with G − 1 degrees of freedom (Hesterberg 2015, arXiv 1411.5279, expanded percentiles), and
    Φ(z) the fraction of the samples below the statistic (Efron and Tibshirani 1993, section 14.3).

    Args:
        values: NaN where a sample has no value.
        value: the statistic of the videos themselves.

    Returns:
        NaN for both with a single group, whose samples are all alike.
    """
    known = values[~np.isnan(values)]
    if num_groups < 2 or len(known) == 0:
        return math.nan, math.nan
    below = ((known < value - _EQUAL).mean() + (known <= value + _EQUAL).mean()) / 2  # equal ones count half
    normal = NormalDist()
    shift = 2 * normal.inv_cdf(float(np.clip(below, 1 / (2 * len(known)), 1 - 1 / (2 * len(known)))))
    width = math.sqrt(num_groups / (num_groups - 1)) * student_quantile(num_groups - 1)
    low, high = np.quantile(known, [normal.cdf(shift - width), normal.cdf(shift + width)])
    return float(low), float(high)


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
    """Returns the mean of one value per video with its interval, such as of 0 and 1 for an accuracy."""
    return bootstrap_interval(lambda videos: float(values[videos].mean()), groups)


def precision_interval(
    scores: NDArray[np.floating], targets: NDArray[np.bool_], groups: Sequence[str]
) -> Interval:
    """Returns mean average precision in 0 … 1 with its 95 % interval over groups of videos.

    It is too high over few videos, and that of a bootstrap sample, which has videos twice, even more. The
    jackknife leaves out one group at a time, which shows bias and variance (Efron and Tibshirani 1993,
    chapter 11), here of arcsin √, whose variance depends least on the value. The limits are unknown for a
    single group, and where all values agree, as without a mistake.

    Args:
        scores: (V, K).
        targets: (V, K), True where the video has the class.
        groups: group of each of the V videos.
    """
    value = mean_average_precision(scores, targets)
    _, number = np.unique(np.asarray(groups), return_inverse=True)
    num_groups = int(number.max()) + 1
    N = min(num_groups, MAX_BLOCKS)
    block = np.random.default_rng(0).permutation(num_groups)[number] % N
    values = [mean_average_precision(scores[block != k], targets[block != k]) for k in range(N)]
    if N < 2 or np.ptp([*values, value]) < 1e-9:
        return Interval(value, math.nan, math.nan)
    angles, angle = np.arcsin(np.sqrt(np.minimum(values, 1.0))), math.asin(math.sqrt(min(value, 1.0)))
    centre = N * angle - (N - 1) * angles.mean()
    half = student_quantile(N - 1) * math.sqrt((N - 1) ** 2 / N * angles.var(ddof=1))
    low, high = np.sin(np.clip([centre - half, centre + half], 0, math.pi / 2)) ** 2
    return Interval(value, float(low), float(high))
