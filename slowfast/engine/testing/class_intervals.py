"""Bootstrap of the metrics in which all classes count alike, for all samples at once.

V videos, G groups of videos, K classes, S samples. These metrics need only the number of videos per class, so
that the samples are counted together instead of one call per sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slowfast.metrics.intervals import BOOTSTRAP_SAMPLES, Interval, sample_limits

# Videos of all samples that are counted together; bounds the memory.
COUNTED_TOGETHER = 1 << 20


def class_intervals(
    predicted: NDArray[np.int64],
    labels: NDArray[np.int64],
    num_classes: int,
    groups: Sequence[str],
    *,
    samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Returns balanced accuracy and macro F1 in 0 … 1 with their intervals over samples of groups.

    The samples are those of :func:`slowfast.metrics.intervals.bootstrap_interval`.

    Args:
        predicted: class index (V,) of each video, V > 0.
        labels: class index (V,) of each video.
        groups: group of each of the V videos.
    """
    _, number = np.unique(np.asarray(groups), return_inverse=True)  # (V,) group of each video
    num_groups = int(number.max()) + 1
    rng = np.random.default_rng(seed)
    found = []
    rows = max(1, COUNTED_TOGETHER // len(labels))
    for first in range(0, samples, rows):
        draws = [rng.integers(num_groups, size=num_groups) for _ in range(min(rows, samples - first))]
        times = np.stack([np.bincount(drawn, minlength=num_groups) for drawn in draws])  # (rows, G)
        found.append(_class_metrics(predicted, labels, num_classes, times[:, number]))
    whole = _class_metrics(predicted, labels, num_classes, np.ones((1, len(labels)), np.int64))[:, 0]
    sampled = np.concatenate(found, axis=1)  # (2, S)
    return {
        name: Interval(value, *sample_limits(values, value, num_groups))
        for name, value, values in zip(("balanced_acc", "macro_f1"), whole.tolist(), sampled, strict=True)
    }


def _class_metrics(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int, times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns balanced accuracy and macro F1 (2, S) of samples with each video ``times`` (S, V) times."""
    is_correct = predicted == labels
    labelled = _count(labels, num_classes, times)  # (S, K)
    correct = _count(labels[is_correct], num_classes, times[:, is_correct])  # (S, K)
    either = labelled + _count(predicted, num_classes, times)  # (S, K)
    # A denominator of 0 belongs to a class that is not among those whose mean is taken.
    recall = correct / np.maximum(labelled, 1)
    f1 = 2 * correct / np.maximum(either, 1)
    return np.stack([_mean_where(recall, labelled > 0), _mean_where(f1, either > 0)])


def _count(classes: NDArray[np.int64], num_classes: int, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns how often each class occurs (S, K) where each video occurs ``times`` (S, V) times."""
    cells = np.arange(len(times))[:, None] * num_classes + classes  # (S, V)
    counts = np.bincount(cells.ravel(), weights=times.ravel(), minlength=len(times) * num_classes)
    return counts.reshape(len(times), num_classes).astype(np.float64)


def _mean_where(values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the mean (S,) of the ``present`` values of each row of (S, K), at least one per row."""
    return np.where(present, values, 0.0).sum(axis=1) / present.sum(axis=1)
