"""Metrics by which a search chooses, in the scale 0 … 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from slowfast.metrics.accuracy import balanced_accuracy, macro_f1
from slowfast.metrics.intervals import Interval, accuracy_interval, jackknife_interval

Metric: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], float]
"""Maps predicted classes (N,) and labels (N,) to a number of which the largest is the best."""


def _accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return float((predicted == labels).mean())


def metric_interval(
    metric: Metric, predicted: NDArray[np.int64], labels: NDArray[np.int64], groups: Sequence[str]
) -> Interval:
    """Returns a metric with its 95 % interval: Wilson's for the accuracy, else by the jackknife."""
    if metric is _accuracy:
        return accuracy_interval(predicted == labels, groups)
    return jackknife_interval(lambda kept: metric(predicted[kept], labels[kept]), groups)


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
"""Metrics by which a search can choose."""
