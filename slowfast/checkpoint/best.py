"""The best validated checkpoint of a run, by one metric of its validations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from slowfast.checkpoint.state import TrainingProgress
from slowfast.checkpoint.storage import list_checkpoints, recorded_validation

LOWER_IS_BETTER = ("loss", "top1_err", "top5_err")
HIGHER_IS_BETTER = ("balanced_acc", "macro_f1", "auroc", "map")
"""Names of validation metrics by which a checkpoint can be the best one."""


def badness(metrics: Mapping[str, float], metric: str = "") -> float:
    """Returns a number that is lower for a better validation; infinite where the metric is missing or NaN.

    Args:
        metrics: of a validation.
        metric: one of the names above; empty: ``top1_err``, or ``map`` for videos of several classes.
    """
    name = metric or ("top1_err" if "top1_err" in metrics else "map")
    value = float(metrics.get(name, math.nan))
    if math.isnan(value):
        return math.inf
    return value if name in LOWER_IS_BETTER else -value


def best_of(checkpoints: list[tuple[TrainingProgress, Path]], metric: str = "") -> Path | None:
    """Returns the checkpoint with the best recorded validation, the earliest of equals; None without one."""
    validated = [
        (badness(metrics, metric), progress, path)
        for progress, path in checkpoints
        if (metrics := recorded_validation(path)) is not None
    ]
    finite = [entry for entry in validated if math.isfinite(entry[0])]
    return min(finite)[2] if finite else None


def best_checkpoint(output_dir: str | Path, metric: str = "") -> Path | None:
    """Returns the best validated checkpoint in the folder of a run; None without one."""
    return best_of(list_checkpoints(output_dir), metric)
