"""Accuracy metrics against values computed by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from slowfast.metrics import (
    average_precision,
    confusion_matrix,
    mean_average_precision,
    per_class_accuracy,
    topk_correct,
)


def test_topk_counts_labels_among_the_highest_scores() -> None:
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    labels = torch.tensor([1, 1, 0])
    assert [int(n) for n in topk_correct(scores, labels, (1, 2, 5))] == [1, 2, 3]
    assert [int(n) for n in topk_correct(scores[:0], labels[:0], (1, 5))] == [0, 0]


def test_rows_of_the_confusion_matrix_are_the_true_classes() -> None:
    confusion = confusion_matrix(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]), 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    accuracy = per_class_accuracy(confusion)
    assert accuracy[:2].tolist() == [0.5, 1.0]
    assert np.isnan(accuracy[2])


def test_average_precision_with_equal_scores_does_not_depend_on_order() -> None:
    scores, targets = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, False, True, False])
    assert average_precision(scores, targets) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(scores[[0, 2, 1, 3]], targets[[0, 2, 1, 3]]) == pytest.approx(0.5 + 1 / 3)


def test_mean_average_precision_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 9, (50, 4)) / 9, rng.random((50, 4)) < 0.3
    targets[:, 3] = False  # a class without videos is left out of the mean
    expected = average_precision_score(targets[:, :3], scores[:, :3], average="macro")
    assert mean_average_precision(scores, targets) == pytest.approx(expected)
