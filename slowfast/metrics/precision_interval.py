"""The interval of mean average precision, by the jackknife.

V videos, K classes, G groups of videos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slowfast.metrics.accuracy import mean_average_precision
from slowfast.metrics.intervals import Interval, student_quantile

MAX_BLOCKS = 200
"""Of more groups, several are left out together."""


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
