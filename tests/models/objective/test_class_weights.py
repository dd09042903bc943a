"""Class weights from numbers of videos, against scikit-learn and the published formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from slowfast.models.objective import class_weights
from slowfast.models.objective.class_weights import count_classes, log_priors, weigh_classes

COUNTS = st.lists(st.integers(1, 1000), min_size=1, max_size=8)


@settings(max_examples=50)
@given(counts=COUNTS)
def test_balanced_weights_are_those_of_scikit_learn(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    found = weigh_classes(count_classes(labels, len(counts), independent=False), class_weights.balanced, {})
    assert found == pytest.approx(expected)


@settings(max_examples=50)
@given(counts=COUNTS, beta=st.sampled_from([0.0, 0.9, 0.9999]))
def test_weights_of_effective_numbers_have_the_papers_ratios_and_a_mean_of_one(
    counts: list[int], beta: float
) -> None:
    n = np.array(counts)
    found = weigh_classes(n, class_weights.effective_number, {"beta": beta})
    assert (found * n).sum() / n.sum() == pytest.approx(1.0)
    formula = (1 - beta) / (1 - beta ** n.astype(np.float64))
    assert found / found[0] == pytest.approx(formula / formula[0], rel=1e-6)


def test_given_weights_are_scaled_to_a_mean_of_one_over_the_videos() -> None:
    found = weigh_classes(np.array([30, 10]), class_weights.given, {"weights": [1, 3]})
    assert found == pytest.approx([2 / 3, 2.0])


def test_given_weights_of_several_labels_are_those_of_their_presence() -> None:
    found = class_weights.given(np.array([[10.0, 30.0], [30.0, 10.0]]), weights=[2, 3])
    assert found.tolist() == [[1, 2], [1, 3]]


def test_a_class_without_videos_leaves_the_others_as_they_are() -> None:
    found = weigh_classes(np.array([30, 0, 10]), class_weights.balanced, {})
    assert found[[0, 2]] == pytest.approx([40 / 60, 40 / 20])
    assert np.isfinite(found).all()
    assert np.isfinite(log_priors(np.array([30, 0, 10]))).all()


def test_several_labels_are_a_decision_about_each_class() -> None:
    labels = np.array([[1, 1], [1, 0], [1, 0], [0, 0]], np.float32)
    counts = count_classes(labels, 2, independent=True)
    assert counts.tolist() == [[1, 3], [3, 1]]
    assert weigh_classes(counts, class_weights.balanced, {}) == pytest.approx(
        np.array([[2.0, 2 / 3], [2 / 3, 2.0]])
    )
    assert log_priors(counts) == pytest.approx([np.log(3), -np.log(3)])
