"""Accuracy metrics as pure functions.

V samples (clips or videos), K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def none_if_nan(value: float) -> float | None:
    """Returns a metric as a plain float, or None where it has no value, since JSON has no NaN.

    >>> none_if_nan(0.5), none_if_nan(float("nan"))
    (0.5, None)
    """
    return None if math.isnan(value) else float(value)


def topk_correct(scores: Tensor, labels: Tensor, ks: Sequence[int]) -> list[Tensor]:
    """Counts the samples whose label is among their k highest scores.

    Args:
        scores: (V, K) float.
        labels: (V,) int64 class indices.
        ks: the values of k; values above K count as K.

    Returns:
        One 0-dimensional int64 tensor per k, on the device of ``scores``.
    """
    num_classes = scores.shape[1]
    # Of equal scores the first class counts, as in argmax; topk takes any of them.
    order = scores.argsort(dim=1, descending=True, stable=True)  # (V, K)
    best = order[:, : min(max(ks), num_classes)]  # (V, max k)
    hit = best == labels[:, None]  # (V, max k), at most one True per row
    return [hit[:, :k].sum() for k in ks]


def confusion_matrix(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Returns counts (K, K) int64 of class indices (V,); row = true class, column = predicted class."""
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def per_class_accuracy(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the fraction (K,) of each class's samples that are predicted correctly; NaN without samples."""
    totals = confusion.sum(axis=1)
    correct = np.diag(confusion).astype(np.float64)
    return np.divide(correct, totals, out=np.full(len(totals), np.nan), where=totals > 0)


def precision_recall_f1(
    confusion: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns precision, recall and F1 of each class, (K,) each; 0 where a denominator is 0.

    As scikit-learn's ``precision_recall_fscore_support`` with ``zero_division=0``.

    Args:
        confusion: counts (K, K), row = true class, column = predicted class.
    """
    correct = np.diag(confusion).astype(np.float64)
    precision = _ratio(correct, confusion.sum(axis=0))
    recall = _ratio(correct, confusion.sum(axis=1))
    return precision, recall, _ratio(2 * correct, confusion.sum(axis=0) + confusion.sum(axis=1))


def balanced_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Returns the mean recall over the classes with samples; NaN without samples.

    It is 1 / K for a classifier that always gives one class, however unequal the classes are.

    Args:
        predicted, labels: class indices (V,).
    """
    if len(labels) == 0:
        return math.nan
    totals = np.bincount(labels)
    correct = np.bincount(labels[predicted == labels], minlength=len(totals))
    return float((correct[totals > 0] / totals[totals > 0]).mean())


def macro_f1(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Returns the mean F1 over the classes that are labels or predictions of samples; NaN without any.

    Args:
        predicted, labels: class indices (V,).
    """
    if len(labels) == 0:
        return math.nan
    either = np.bincount(np.concatenate([labels, predicted]))
    correct = np.bincount(labels[predicted == labels], minlength=len(either))
    return float((2 * correct[either > 0] / either[either > 0]).mean())


def auroc(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> float:
    """Returns the area under the ROC curve: the probability that a positive scores above a negative.

    Equal scores count one half, as in the statistic of Mann and Whitney (1947).

    Args:
        scores: (V,) float, higher for positive samples.
        targets: (V,) bool, True for positive samples.

    Returns:
        A value in 0 … 1; NaN where all samples are positive, or all negative.
    """
    positives, negatives = int(targets.sum()), int((~targets).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    _, number, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each distinct score, from 1
    total = ranks[number][targets].sum()
    return float((total - positives * (positives + 1) / 2) / (positives * negatives))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns part / whole; 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def average_precisions(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the area (K,) under the precision-recall curve of each class, in 0 … 1.

    The area is Σ (Rₙ − Rₙ₋₁) Pₙ over descending thresholds, as in scikit-learn's ``average_precision_score``.
    Samples of equal score pass one threshold together, so that their order has no effect.

    Args:
        scores: (V, K) float.
        targets: (V, K) bool, True where the sample has the class.

    Returns:
        NaN for classes that no sample has.
    """
    num_samples, num_classes = scores.shape
    areas = np.full(num_classes, np.nan)
    if num_samples == 0:
        return areas
    order = np.argsort(-scores, axis=0, kind="stable")
    scores = np.take_along_axis(scores, order, axis=0)
    hits = np.take_along_axis(targets, order, axis=0).astype(np.float64)
    # The row at which each sample's threshold ends: its own, or the last one of equal score.
    rows = np.arange(num_samples)[:, None]
    is_last = np.vstack([np.diff(scores, axis=0) != 0, np.ones((1, num_classes), bool)])
    ends = np.minimum.accumulate(np.where(is_last, rows, num_samples)[::-1], axis=0)[::-1]
    precision = np.cumsum(hits, axis=0) / (rows + 1)
    # Recall rises by 1 / positives at each positive sample.
    positives = hits.sum(axis=0)
    sums = (hits * np.take_along_axis(precision, ends, axis=0)).sum(axis=0)
    return np.divide(sums, positives, out=areas, where=positives > 0)


def mean_average_precision(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> float:
    """Returns the mean of :func:`average_precisions` over the classes with samples; NaN without any.

    Args:
        scores: (V, K) float.
        targets: (V, K) bool, True where the sample has the class.
    """
    present = targets.any(axis=0)
    if not present.any():
        return float("nan")
    return float(average_precisions(scores[:, present], targets[:, present]).mean())
