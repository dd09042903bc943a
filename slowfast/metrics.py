"""Accuracy metrics as pure functions.

V samples (clips or videos), K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
    if scores.shape[0] == 0:
        return [torch.zeros((), dtype=torch.int64, device=scores.device) for _ in ks]
    best = scores.topk(min(max(ks), num_classes), dim=1).indices  # (V, K) -> (V, max k)
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


def average_precision(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> float:
    """Returns the area under the precision-recall curve of one class.

    The area is Σ (Rₙ − Rₙ₋₁) Pₙ over descending thresholds, as in scikit-learn's ``average_precision_score``.
    Samples of equal score pass one threshold together, so that their order has no effect.

    Args:
        scores: (V,) float.
        targets: (V,) bool, True where the sample has the class.

    Returns:
        A value in 0 … 1; NaN where no sample has the class.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], targets[order].astype(np.float64)
    if hits.sum() == 0:
        return float("nan")
    last_of_threshold = np.append(np.diff(scores) != 0, True)
    true_positives = np.cumsum(hits)[last_of_threshold]
    precision = true_positives / (np.flatnonzero(last_of_threshold) + 1)
    recall = true_positives / hits.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def mean_average_precision(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> float:
    """Returns the mean of :func:`average_precision` over the classes with samples; NaN without any.

    Args:
        scores: (V, K) float.
        targets: (V, K) bool, True where the sample has the class.
    """
    present = np.flatnonzero(targets.any(axis=0))
    if len(present) == 0:
        return float("nan")
    return float(np.mean([average_precision(scores[:, k], targets[:, k]) for k in present]))
