"""The best validated checkpoint of a run, by one metric of its validations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from slowfast.checkpoint.storage import SavedCheckpoint, recorded_validation

_LOWER_IS_BETTER = ("loss", "top1_err", "top5_err")
# Fraction of the scored videos of another validation that one must have to be compared with it.
_COMPARABLE = 0.9


def compared_metric(metrics: Mapping[str, float], metric: str = "") -> str:
    """Returns the name of the metric by which validations are compared.

    Args:
        metrics: of a validation.
        metric: ``TRAIN.BEST_METRIC``; empty: ``top1_err``, or ``map`` for videos of several classes.
    """
    return metric or ("top1_err" if "top1_err" in metrics else "map")


def badness(metrics: Mapping[str, float], metric: str = "") -> float:
    """Returns a number that is lower for a better validation; infinite where the metric is missing or NaN.

    Args:
        metrics: of a validation.
        metric: see :func:`compared_metric`.
    """
    name = compared_metric(metrics, metric)
    value = float(metrics.get(name, math.nan))
    if math.isnan(value):
        return math.inf
    return value if name in _LOWER_IS_BETTER else -value


def scored_fraction(metrics: Mapping[str, float]) -> float:
    """Returns the fraction of a validation's videos that have scores; 1 where it is unknown."""
    videos, broken = metrics.get("videos", 1.0), metrics.get("broken_videos", 0.0)
    return float(videos / max(videos + broken, 1))


def is_incomplete(fraction: float, other: float) -> bool:
    """Returns whether a validation that scored ``fraction`` of its videos must not be compared with another.

    A disk that is lost for a minute leaves the scores of a few videos, whose accuracy may be the highest.
    """
    return fraction < _COMPARABLE * other


def best_of(checkpoints: Sequence[SavedCheckpoint], metric: str = "") -> Path | None:
    """Returns the checkpoint with the best recorded validation, the earliest of equals; None without one.

    Validations that scored fewer videos than others are left out, see :func:`is_incomplete`.
    """
    recorded = {
        checkpoint: metrics
        for checkpoint in sorted(checkpoints)
        if (metrics := recorded_validation(checkpoint.path)) is not None
    }
    most = max(map(scored_fraction, recorded.values()), default=0.0)
    found = {
        checkpoint: badness(metrics, metric)
        for checkpoint, metrics in recorded.items()
        if not is_incomplete(scored_fraction(metrics), most)
    }
    best = min(found, key=lambda checkpoint: found[checkpoint], default=None)
    return best.path if best is not None and math.isfinite(found[best]) else None
