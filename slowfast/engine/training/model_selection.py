"""The choice among the validated states of a run: the best one, and the end of training without progress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.checkpoint.best import badness, compared_metric, is_incomplete, scored_fraction
from slowfast.checkpoint.state import TrainingProgress
from slowfast.log import get_logger

logger = get_logger(__name__)

# Difference in percentage points that a validation should be able to show, unless a larger one is asked for.
WANTED_DIFFERENCE = 5.0
_Z = 1.96  # 95 % of a normal distribution lie within this many standard deviations
_ACCURACIES = ("top1_err", "balanced_acc")


@dataclass
class ModelSelection:
    """Compares the validations of a run by one metric. All ranks have the same state.

    Attributes:
        metric: name of a validation metric, see :mod:`slowfast.checkpoint.best`; empty: the usual one.
        patience: validations without improvement after which training ends; 0: never.
        eval_period: epochs between two validations. Those between are of an end by ``TRAIN.MAX_STEPS`` or
            ``SOLVER.MAX_EPOCH``, which may be raised; they do not count for ``patience``.
        min_improvement: smallest difference that counts, in the unit of the metric.
        saves_best: whether an improved state is saved even where no checkpoint is due.
        lowest: the lowest errors of the compared validations, by their names.
    """

    metric: str = ""
    patience: int = 0
    eval_period: int = 1
    min_improvement: float = 0.0
    saves_best: bool = False
    best_progress: TrainingProgress = field(default_factory=TrainingProgress)
    lowest: dict[str, float] = field(default_factory=dict)
    _best: float = math.inf
    _since: int = 0
    _seen: TrainingProgress = field(default_factory=TrainingProgress)
    _name: str = ""
    _scored: float = 0.0  # the largest fraction of videos with scores

    @property
    def is_exhausted(self) -> bool:
        """Whether training ends, because the last ``patience`` validations that count were not better."""
        return 0 < self.patience <= self._since

    def observe(self, progress: TrainingProgress, metrics: Mapping[str, float]) -> bool:
        """Adds the validation at ``progress``, once; returns whether it is the best one so far."""
        if progress <= self._seen:
            return progress == self.best_progress
        self._seen = progress
        if not self._is_comparable(progress, metrics):
            return False
        for name in ("top1_err", "top5_err"):
            if name in metrics:
                self.lowest[name] = min(metrics[name], self.lowest.get(name, math.inf))
        self._compare_by(compared_metric(metrics, self.metric))
        value = badness(metrics, self.metric)
        if value < self._best - self.min_improvement:
            self._best, self._since, self.best_progress = value, 0, progress
            return True
        self._since += progress.step == 0 and progress.epoch % self.eval_period == 0
        return False

    def _is_comparable(self, progress: TrainingProgress, metrics: Mapping[str, float]) -> bool:
        """Returns whether a validation scored as many videos as others; forgets those that scored fewer."""
        scored = scored_fraction(metrics)
        if scored == 0:  # the log of the validation says so
            return False
        if is_incomplete(scored, self._scored):
            logger.warning(
                "validation at %s: %.0f %% of its videos have scores, so it is not compared with others",
                progress,
                100 * scored,
            )
            return False
        if is_incomplete(self._scored, scored):
            self._best, self._since, self.lowest = math.inf, 0, {}
        self._scored = max(self._scored, scored)
        return True

    def _compare_by(self, name: str) -> None:
        """Forgets validations that were compared by another metric: the run was resumed with another key."""
        if self._name and self._name != name:
            logger.warning("validations are compared by %s from here on, and before by %s", name, self._name)
            self._best, self._since = math.inf, 0
        self._name = name

    def describe(self) -> str:
        """Returns a sentence about the best validation."""
        if math.isinf(self._best):
            return f"no validation has a value of {self._name}"
        return f"best validation: {self._name} {abs(self._best):.5g} at {self.best_progress}"

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain values."""
        return {
            "best": self._best,
            "since": self._since,
            "best_progress": [self.best_progress.epoch, self.best_progress.step],
            "seen": [self._seen.epoch, self._seen.step],
            "name": self._name,
            "scored": self._scored,
            "lowest": dict(self.lowest),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state; an empty one, of a file without it, changes nothing."""
        if state:
            self._best, self._since = float(state["best"]), int(state["since"])
            self.best_progress = TrainingProgress(*state["best_progress"])
            self._seen = TrainingProgress(*state["seen"])
            self._name = str(state["name"])
            self._scored = float(state.get("scored", 0.0))
            self.lowest = dict(state.get("lowest", {}))

    def describe_uncertainty(self, metrics: Mapping[str, float]) -> str:
        """Returns a warning if the first validation has too few videos for the differences it should show.

        Empty for later validations, and where the run does not choose by them.

        Two accuracies p over V videos differ by chance by up to 1.96 √(2 p (1 − p) / V) with a confidence of
        95 %, so a difference d needs V ≥ 2 p (1 − p) (1.96 / d)². Both are for independent errors; those of
        two states of one run agree in part, which makes the formula cautious.
        """
        videos = int(metrics.get("videos", 0))
        name = compared_metric(metrics, self.metric)
        is_accuracy = name in _ACCURACIES and name in metrics
        if not (self.saves_best and is_accuracy) or self._seen > TrainingProgress():
            return ""
        value = metrics[name] / 100.0
        # Laplace's estimate, since a validation without any error is uncertain, too.
        p = (value * videos + 1) / (videos + 2)
        variance = 2 * p * (1 - p)
        shown = 100.0 * _Z * math.sqrt(variance / videos)
        wanted = max(self.min_improvement, WANTED_DIFFERENCE)
        if shown <= wanted:
            return ""
        needed = math.ceil(variance * (100.0 * _Z / wanted) ** 2)
        return (
            f"validation has {videos} videos: differences below {shown:.1f} points are within chance "
            f"(1.96 √(2 p (1 − p) / V) with p = {p:.2f}); {wanted:g} points need {needed} videos. Use more "
            "videos for validation, or folds (`slowfast prepare split --folds`)"
        )


def build_model_selection(cfg: CfgNode) -> ModelSelection:
    """Builds the selection that the section ``TRAIN`` of a configuration describes."""
    train = cfg.TRAIN
    return ModelSelection(
        train.BEST_METRIC,
        patience=train.PATIENCE,
        eval_period=train.EVAL_PERIOD,
        min_improvement=train.MIN_IMPROVEMENT,
        saves_best=bool(train.PATIENCE or train.BEST_METRIC) or cfg.TEST.WEIGHTS == "best",
    )
