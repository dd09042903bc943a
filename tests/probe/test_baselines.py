"""Linear baselines, compared with scikit-learn on the full features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from slowfast.features.temporal_statistics import temporal_statistics
from slowfast.probe import baselines as module
from slowfast.probe.baselines import (
    LINEAR_MEAN,
    LINEAR_STATISTICS,
    LINEAR_TOKEN_STATISTICS,
    MAJORITY,
    baselines,
    linear_scores,
    summarize,
)
from tests.support.probing.feature_files import random_table

VIDEOS, WIDTH, CLASSES = 60, 200, 3
TRAIN, TEST = np.arange(40), np.arange(40, VIDEOS)
GROUPS = [str(video) for video in range(VIDEOS)]


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Returns summaries (V, W) and labels (V,) with some signal in five channels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=VIDEOS)
    x = rng.normal(size=(VIDEOS, WIDTH)).astype(np.float32)
    x[:, :5] += 2 * labels[:, None]
    return x, labels


def test_the_scores_are_those_of_scikit_learn_without_reduction(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = data
    scores, strength = linear_scores(x, labels, GROUPS, TRAIN, TEST, CLASSES)
    assert strength in module.STRENGTHS
    scaled = ((x - x[TRAIN].mean(axis=0)) / x[TRAIN].std(axis=0)).clip(-5, 5)
    oracle = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(scaled[TRAIN], labels[TRAIN])
    np.testing.assert_allclose(scores, oracle.predict_proba(scaled[TEST]), atol=5e-3)
    assert (scores.argmax(axis=1) == labels[TEST]).mean() > 0.6


def test_the_choice_of_the_penalty_does_not_see_the_test_videos(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = data
    _, strength = linear_scores(x, labels, GROUPS, TRAIN, TEST, CLASSES)
    shuffled = labels.copy()
    shuffled[TEST] = np.random.default_rng(1).permutation(shuffled[TEST])
    assert linear_scores(x, shuffled, GROUPS, TRAIN, TEST, CLASSES)[1] == strength


@pytest.mark.parametrize(
    ("groups", "whole"),
    [
        ("aaaabbbbccccdddd", True),  # class 2 has the group d only
        ("aaaaaaaaaaaadddd", False),  # without d there is one class, and nothing can be learned
        ("aaaaaaaaaaaaaaaa", False),
    ],
)
def test_the_penalty_is_chosen_over_whole_groups_where_they_leave_two_classes(
    monkeypatch: pytest.MonkeyPatch, groups: str, whole: bool
) -> None:
    """Videos of one group are alike: if they are learned and tested, the weakest penalty seems the best."""
    labels = np.array([0, 1] * 4 + [0] * 4 + [2] * 4 if whole else [0] * 12 + [1] * 4)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    x[:, 0] = [ord(group) for group in groups]  # tells the groups apart below
    shared = []
    fit = module._fit

    def record(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, *args: Any) -> dict[float, np.ndarray]:
        shared.append(bool(set(x[:, 0]) & set(x_test[:, 0])))
        return fit(x, y, x_test, *args)

    monkeypatch.setattr(module, "_fit", record)
    everything = np.arange(16)
    _, strength = linear_scores(x, labels, list(groups), everything, everything, CLASSES)
    *inner, _ = shared  # the last one is the fit on all training videos
    assert inner
    assert not any(inner) if whole else all(inner)
    assert strength in module.STRENGTHS


def test_a_class_that_is_not_trained_has_score_0(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = data
    train, test = np.flatnonzero(labels != 1), np.flatnonzero(labels == 1)
    scores, _ = linear_scores(x, labels, GROUPS, train, test, CLASSES)
    assert scores.shape == (len(test), CLASSES)
    assert (scores[:, 1] == 0).all()


def test_the_majority_class_has_the_highest_score() -> None:
    table = random_table(9, (6,), num_classes=3)  # classes 0, 1, 2, 0, 1, 2 …
    majority = baselines(table, table.groups, 3)[MAJORITY]
    scores = majority(np.array([2, 5, 0]), np.array([1, 3, 4, 6]))
    np.testing.assert_allclose(scores, [[1 / 3, 0, 2 / 3]] * 4, rtol=1e-6)


@pytest.mark.parametrize("row_shape", [(6,), (4, 6)])
def test_the_summaries_are_statistics_of_all_rows(row_shape: tuple[int, ...]) -> None:
    table = random_table(5, row_shape)
    summaries = summarize(table)
    clip = table.video(3)[None]
    np.testing.assert_allclose(summaries[LINEAR_STATISTICS][3], temporal_statistics(clip)[0], rtol=1e-6)
    mean = clip.mean(dim=1).reshape(-1, 6).mean(dim=0)
    np.testing.assert_allclose(summaries[LINEAR_MEAN][3], mean, rtol=1e-5, atol=1e-6)
    if len(row_shape) == 2:
        of_tokens = torch.stack([temporal_statistics(clip[:, :, m])[0] for m in range(4)])
        own = summaries[LINEAR_TOKEN_STATISTICS][3].reshape(4, 4, 6)  # statistic, token, channel
        np.testing.assert_allclose(own, of_tokens.view(4, 4, 6).transpose(0, 1), rtol=1e-5, atol=1e-6)
    else:
        assert LINEAR_TOKEN_STATISTICS not in summaries
