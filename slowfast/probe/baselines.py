"""Baselines of a search: the majority class, and linear classifiers of features summarised over time.

V videos, M tokens of a frame, F width of a feature, W width of a summary, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.errors import ConfigError
from slowfast.features.temporal_statistics import temporal_statistics
from slowfast.probe.feature_table import FeatureTable
from slowfast.probe.folds import divide_groups

# Inverse strengths of the L2 penalty, in scikit-learn's sense.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_INNER_FOLDS = 4
# Standardised summaries are clipped, as features in the models are.
_LIMIT = 5.0

MAJORITY = "majority class"
LINEAR_MEAN = "linear, mean"
LINEAR_STATISTICS = "linear, temporal statistics"
LINEAR_TOKEN_STATISTICS = "linear, temporal statistics of each token"


def baseline_names(table: FeatureTable) -> list[str]:
    """Returns the names of the baselines that :func:`baselines` computes."""
    of_tokens = [LINEAR_TOKEN_STATISTICS] if len(table.row_shape) == 2 else []
    return [MAJORITY, LINEAR_MEAN, LINEAR_STATISTICS, *of_tokens]


def summarize(table: FeatureTable) -> dict[str, NDArray[np.float32]]:
    """Returns the summaries (V, W) of the videos by the name of their baseline.

    They are the mean, :func:`slowfast.features.temporal_statistics.temporal_statistics`, and for several
    tokens per frame these of each token side by side.
    """
    summaries: dict[str, list[NDArray[np.float32]]] = {name: [] for name in baseline_names(table)[1:]}
    width = table.row_shape[-1]
    for video in range(len(table)):
        clip = table.video(video)[None]
        statistics = temporal_statistics(clip)[0].numpy()
        summaries[LINEAR_STATISTICS].append(statistics)
        summaries[LINEAR_MEAN].append(statistics[:width])
        if LINEAR_TOKEN_STATISTICS in summaries:
            summaries[LINEAR_TOKEN_STATISTICS].append(temporal_statistics(clip.flatten(2))[0].numpy())
    return {name: np.stack(rows) for name, rows in summaries.items()}


def linear_scores(
    summaries: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: Sequence[str],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    num_classes: int,
) -> tuple[NDArray[np.float32], float]:
    """Returns scores (test videos, K) of a logistic regression and the strength of its penalty.

    The strength is chosen by a cross-validation over groups within the training videos.

    Args:
        summaries: (V, W).
        train, test: indices of videos.
    """
    strength = _choose_strength(summaries[train], labels[train], [groups[i] for i in train], num_classes)
    return _fit(summaries[train], labels[train], summaries[test], [strength], num_classes)[strength], strength


def _choose_strength(
    x: NDArray[np.float32], y: NDArray[np.int64], groups: Sequence[str], num_classes: int
) -> float:
    """Returns the strength of the highest accuracy over inner folds, the strongest penalty of equals.

    Groups stay together, also where a class has a single one, which is then learned or tested. Only where
    that leaves a single class to learn in every fold, videos are divided one by one.
    """
    grouped = divide_groups(y.tolist(), groups, min(_INNER_FOLDS, len(set(groups))))
    single = np.arange(len(y)) % min(_INNER_FOLDS, len(y))
    for parts in (grouped, single):
        correct = dict.fromkeys(STRENGTHS, 0)
        inners = [parts != fold for fold in range(_INNER_FOLDS)]
        tested = [inner for inner in inners if not inner.all() and len(set(y[inner])) > 1]
        for inner in tested:
            for strength, scores in _fit(x[inner], y[inner], x[~inner], STRENGTHS, num_classes).items():
                correct[strength] += int((scores.argmax(axis=1) == y[~inner]).sum())
        if tested:
            break
    return max(STRENGTHS, key=lambda strength: (correct[strength], -strength))


def _fit(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    x_test: NDArray[np.float32],
    strengths: Sequence[float],
    num_classes: int,
) -> dict[float, NDArray[np.float32]]:
    """Returns scores (test videos, K) by strength."""
    LogisticRegression = require_scikit_learn()
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[std == 0] = 1
    x, x_test = (((part - mean) / std).clip(-_LIMIT, _LIMIT) for part in (x, x_test))
    if x.shape[1] > x.shape[0]:
        # The solution lies in the span of the rows, since the penalty does not depend on the basis.
        _, _, basis = np.linalg.svd(x, full_matrices=False)
        x, x_test = x @ basis.T, x_test @ basis.T
    scores = {}
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=1000, tol=1e-6)
        with warnings.catch_warnings():  # without penalty to speak of, the limit of steps is reached
            warnings.simplefilter("ignore")
            model.fit(x, y)
        full = np.zeros((len(x_test), num_classes), np.float32)
        full[:, model.classes_] = model.predict_proba(x_test)
        scores[strength] = full
    return scores


def require_scikit_learn() -> Any:
    """Returns scikit-learn's class ``LogisticRegression``.

    Raises:
        ConfigError: where the package is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(
            "scikit-learn is not installed and the linear baselines need it: pip install scikit-learn"
        ) from error
    return LogisticRegression


Baseline = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


def baselines(table: FeatureTable, groups: Sequence[str], num_classes: int) -> Mapping[str, Baseline]:
    """Returns name -> function of training and test videos (indices) that returns scores (test videos, K)."""
    labels = table.labels.numpy()

    def majority(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float32]:
        counts = np.bincount(labels[train], minlength=num_classes).astype(np.float32)
        return np.tile(counts / counts.sum(), (len(test), 1))

    def linear(summaries: NDArray[np.float32]) -> Baseline:
        return lambda train, test: linear_scores(summaries, labels, groups, train, test, num_classes)[0]

    found: dict[str, Baseline] = {MAJORITY: majority}
    found.update({name: linear(summaries) for name, summaries in summarize(table).items()})
    return found
