"""Weights of classes by their number of training videos, chosen by ``LOSS.CLASS_WEIGHTS``.

N videos, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.errors import ConfigError
from slowfast.registry import Registry

ClassWeights = Callable[..., NDArray[np.float64]]

CLASS_WEIGHT_REGISTRY: Registry[ClassWeights] = Registry(
    "scheme of class weights",
    "LOSS.CLASS_WEIGHTS",
    arguments=("counts", "**LOSS.CLASS_WEIGHT_ARGS"),
)
"""Functions from numbers of videos (…, C) float64, 1 or more, to positive weights of the C classes, (…, C).

For videos of one class the numbers are (K,). For videos of several classes each class is a decision of its
own, with the numbers (K, 2) of videos without and with it. Only ratios of weights matter, since
:func:`weigh_classes` scales them. Keyword-only parameters are set by ``LOSS.CLASS_WEIGHT_ARGS``. A file named
in ``IMPORTS`` registers its own with ``@CLASS_WEIGHT_REGISTRY.register("name")``. This module must not import
torch.
"""


@CLASS_WEIGHT_REGISTRY.register("none")
def equal(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns equal weights."""
    return np.ones_like(counts)


@CLASS_WEIGHT_REGISTRY.register()
def balanced(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns weights with which all classes count equally, in inverse proportion to their videos."""
    return 1.0 / counts


@CLASS_WEIGHT_REGISTRY.register()
def effective_number(counts: NDArray[np.float64], *, beta: float = 0.999) -> NDArray[np.float64]:
    """Returns (1 − β) / (1 − β^n) for classes of n videos (Cui et al., 2019, section 3).

    Args:
        beta: β, 0 or more and less than 1. 0 weighs all classes alike, values near 1 are as ``balanced``.
    """
    if not 0 <= beta < 1:
        raise ConfigError(f"LOSS.CLASS_WEIGHT_ARGS.beta = {beta}: must be 0 or more and less than 1")
    return (1 - beta) / -np.expm1(counts * np.log(beta)) if beta > 0 else np.ones_like(counts)


@CLASS_WEIGHT_REGISTRY.register()
def given(counts: NDArray[np.float64], *, weights: Sequence[float]) -> NDArray[np.float64]:
    """Returns the weights of a list, one per class; for several labels those of a class's presence.

    Args:
        weights: K positive numbers.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != counts.shape[:1] or not (values > 0).all():
        raise ConfigError(
            f"LOSS.CLASS_WEIGHT_ARGS.weights = {list(weights)}: must be {len(counts)} positive numbers, one "
            "per class (MODEL.NUM_CLASSES)"
        )
    return values if counts.ndim == 1 else np.stack([np.ones_like(values), values], axis=1)


def count_classes(labels: NDArray[Any], num_classes: int, *, independent: bool) -> NDArray[np.int64]:
    """Returns the numbers of videos: (K,), or (K, 2) without and with each class where ``independent``.

    Args:
        labels: (N,) class indices, or (N, K) of ones and zeros.
    """
    if labels.ndim == 1:
        present = np.bincount(labels, minlength=num_classes)
    else:
        present = (labels > 0).sum(axis=0)
    return np.stack([len(labels) - present, present], axis=1) if independent else present


def weigh_classes(
    counts: NDArray[np.int64], scheme: ClassWeights, arguments: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Returns the weights of a scheme, scaled so that their mean over the training videos is 1.

    The learning rate therefore keeps its meaning. For ``balanced`` the weights are N / (K n), those of
    scikit-learn's ``compute_class_weight``. Classes without videos have no influence; their weight is 1.

    Args:
        counts: (K,) or (K, 2), see :func:`count_classes`.
        arguments: keywords of the scheme.
    """
    weights = np.asarray(scheme(np.maximum(counts, 1).astype(np.float64), **arguments), dtype=np.float64)
    mean = (weights * counts).sum(axis=-1, keepdims=True) / counts.sum(axis=-1, keepdims=True)
    return np.where(counts > 0, weights / mean, 1.0)


def log_priors(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns log π of each class (K,), or its log odds log (π / (1 − π)) for counts (K, 2).

    A class without videos counts as half a video, so that its prior is not 0.
    """
    counts = np.maximum(counts, 0.5)
    if counts.ndim == 1:
        return np.log(counts / counts.sum())
    return np.log(counts[:, 1] / counts[:, 0])
