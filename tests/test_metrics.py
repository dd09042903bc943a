"""Accuracy metrics against values computed by hand and by scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from slowfast.metrics.accuracy import (
    auroc,
    average_precisions,
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
    mean_average_precision,
    per_class_accuracy,
    precision_recall_f1,
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
    scores = np.array([[0.9], [0.5], [0.5], [0.1]])
    targets = np.array([[True], [False], [True], [False]])
    assert average_precisions(scores, targets) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precisions(scores[[0, 2, 1, 3]], targets[[0, 2, 1, 3]]) == pytest.approx(0.5 + 1 / 3)


def test_mean_average_precision_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 9, (50, 4)) / 9, rng.random((50, 4)) < 0.3
    targets[:, 3] = False  # a class without videos is left out of the mean
    expected = average_precision_score(targets[:, :3], scores[:, :3], average="macro")
    assert mean_average_precision(scores, targets) == pytest.approx(expected)
    per_class = average_precisions(scores, targets)
    for k in range(3):
        assert per_class[k] == pytest.approx(average_precision_score(targets[:, k], scores[:, k]))
    assert np.isnan(per_class[3])
    assert np.isnan(average_precisions(scores[:0], targets[:0])).all()


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_metrics_of_classes_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    confusion = confusion_matrix(predicted, labels, 5)
    expected = precision_recall_fscore_support(labels, predicted, labels=range(5), zero_division=0)
    for own, other in zip(precision_recall_f1(confusion), expected[:3], strict=True):
        np.testing.assert_allclose(own, other, atol=1e-12)
    recall = np.where(np.isin(range(5), labels), expected[1], np.nan)
    np.testing.assert_allclose(per_class_accuracy(confusion), recall)
    f1 = f1_score(labels, predicted, average="macro", zero_division=0)
    assert macro_f1(predicted, labels) == pytest.approx(f1)
    with warnings.catch_warnings():  # predicted classes without labels do not count, in both
        warnings.simplefilter("ignore")
        balanced = balanced_accuracy_score(labels, predicted)
    assert balanced_accuracy(predicted, labels) == pytest.approx(balanced)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_auroc_agrees_with_scikit_learn_for_equal_scores_too(pairs: list[tuple[bool, int]]) -> None:
    targets, scores = np.array([t for t, _ in pairs]), np.array([s / 7 for _, s in pairs])
    if targets.all() or not targets.any():
        assert np.isnan(auroc(scores, targets))
    else:
        assert auroc(scores, targets) == pytest.approx(roc_auc_score(targets, scores))


def test_metrics_without_samples_are_not_a_number() -> None:
    empty = np.zeros(0, np.int64)
    assert np.isnan(balanced_accuracy(empty, empty))
    assert np.isnan(macro_f1(empty, empty))


def test_a_classifier_of_one_class_has_the_balanced_accuracy_of_chance() -> None:
    assert balanced_accuracy(np.zeros(100, np.int64), np.array([0] * 97 + [1, 2, 3])) == 0.25


@given(st.integers(0, 10_000), st.sampled_from([3, 10, 400]))
def test_of_equal_scores_the_first_class_counts_as_in_argmax(seed: int, num_classes: int) -> None:
    """Otherwise the accuracy and the confusion matrix of one test would differ."""
    scores = torch.randint(0, 3, (8, num_classes), generator=torch.Generator().manual_seed(seed)).float()
    labels = torch.from_numpy(scores.numpy().argmax(1))
    assert int(topk_correct(scores, labels, (1,))[0]) == 8
