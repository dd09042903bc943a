"""Scores of videos, and the metrics that are computed from them.

V videos with scores, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slowfast.datasets.clip import BrokenVideo
from slowfast.errors import DataError
from slowfast.metrics.accuracy import (
    auroc,
    average_precisions,
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
    mean_average_precision,
    per_class_accuracy,
    topk_correct,
)
from slowfast.metrics.intervals import Interval, accuracy_interval, jackknife_interval


def merge_view(merged: NDArray[np.float32], scores: NDArray[np.float32], method: str) -> None:
    """Merges the scores (K,) of one more view into those of the views before it, in place.

    Args:
        merged: the scores of the first view, or what this function has made of them.
        scores: of the view.
        method: ``max``, or ``sum``.
    """
    if method == "max":
        np.maximum(merged, scores, out=merged)
    else:
        merged += scores


def finish_merge(merged: NDArray[np.float32], num_views: NDArray[np.int64] | int, method: str) -> None:
    """Divides sums by the number of views, in place; scores then have the range of one view's.

    Args:
        merged: (K,) or (V, K), results of :func:`merge_view`.
        num_views: number of merged views, 1 or more; (V, 1) for several videos.
        method: ``max``, whose results remain as they are, or ``sum``.
    """
    if method == "sum":
        merged /= num_views


@dataclass(frozen=True, kw_only=True)
class VideoScores:
    """Scores of videos, one row per video in the order of ``video_ids``, and the metrics of these scores.

    Attributes:
        video_ids: (V,) int64, rows of the annotation file.
        scores: (V, K) float32, merged over the views.
        labels: (V,) int64 class indices, or (V, K) float32 if videos may have several classes.
        num_views: (V,) int64, number of views whose scores were merged.
        broken: videos with a view that could not be scored, with the reason; videos without any score are
            in no other attribute.
        groups: the group of each of the V videos, see :mod:`slowfast.datasets.groups`; empty where each
            video is a group of its own.
    """

    video_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: NDArray[Any]
    num_views: NDArray[np.int64]
    broken: tuple[BrokenVideo, ...]
    groups: tuple[str, ...] = ()

    @property
    def multi_label(self) -> bool:
        """Whether videos may have several classes."""
        return self.labels.ndim == 2

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class with the highest score, (V,) int64."""
        return self.scores.argmax(axis=1) if len(self.scores) else np.zeros(0, dtype=np.int64)

    @cached_property
    def accuracy(self) -> dict[int, float]:
        """Top-1 and top-5 accuracy in percent over the videos with scores, by k."""
        counts = topk_correct(torch.from_numpy(self.scores), torch.from_numpy(self.labels), (1, 5))
        return {k: 100.0 * int(n) / max(1, len(self.labels)) for k, n in zip((1, 5), counts, strict=True)}

    @property
    def top1(self) -> float:
        """Top-1 accuracy in percent."""
        return self.accuracy[1]

    @property
    def top5(self) -> float:
        """Top-5 accuracy in percent."""
        return self.accuracy[5]

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (K, K) int64; row: true class, column: predicted class.

        Raises:
            DataError: if videos may have several classes.
        """
        if self.multi_label:
            raise DataError(
                "a confusion matrix requires one class per video; these videos may have several, so use the "
                "average precision per class"
            )
        return confusion_matrix(self.predicted, self.labels, self.scores.shape[1])

    @cached_property
    def per_class(self) -> NDArray[np.float64]:
        """Accuracy per class (K,) float64 in 0 … 1, or average precision if videos may have several classes.

        NaN for classes without videos.
        """
        if not self.multi_label:
            return per_class_accuracy(self.confusion)
        return average_precisions(self.scores, self.labels > 0)

    @cached_property
    def class_metrics(self) -> dict[str, float]:
        """Metrics in which all classes count alike, by their names in log lines; empty for several labels.

        ``balanced_acc`` and ``macro_f1`` in percent, and for two classes with videos ``auroc`` in 0 … 1, that
        of the second class.
        """
        if self.multi_label or len(self.labels) == 0:
            return {}
        metrics = {
            "balanced_acc": 100.0 * balanced_accuracy(self.predicted, self.labels),
            "macro_f1": 100.0 * macro_f1(self.predicted, self.labels),
        }
        if self.scores.shape[1] == 2 and self.videos_per_class.all():
            margin = self.scores[:, 1] - self.scores[:, 0]
            metrics["auroc"] = auroc(margin, self.labels == 1)
        return metrics

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Metrics in 0 … 1 with their 95 % intervals over the groups of videos.

        That of top-1 is Wilson's, the others are by the jackknife, whose limits are NaN where it shows
        nothing, as in a test without a mistake.

        The names are ``top1_acc`` and those of :attr:`class_metrics`, or ``map`` for several labels. Empty
        without videos.
        """
        num_videos = len(self.scores)
        if num_videos == 0:
            return {}
        groups = self.groups or [str(video) for video in range(num_videos)]
        predicted, labels, targets = self.predicted, self.labels.astype(np.int64), self.labels > 0
        statistics: dict[str, Callable[[NDArray[np.int64]], float]] = {
            "balanced_acc": lambda kept: balanced_accuracy(predicted[kept], labels[kept]),
            "macro_f1": lambda kept: macro_f1(predicted[kept], labels[kept]),
        }
        found = {}
        if self.multi_label:
            statistics = {"map": lambda kept: mean_average_precision(self.scores[kept], targets[kept])}
        else:
            found["top1_acc"] = accuracy_interval(predicted == labels, self.groups)
        if "auroc" in self.class_metrics:
            margin, positive = self.scores[:, 1] - self.scores[:, 0], labels == 1
            statistics["auroc"] = lambda kept: auroc(margin[kept], positive[kept])
        return found | {
            name: jackknife_interval(own, groups, corrects_bias=name == "map")
            for name, own in statistics.items()
        }

    def describe_result(self) -> str:
        """Returns the accuracy as text, or mean average precision where videos may have several classes.

        Top-5 is left out for up to five classes, of which it is always 100 %.
        """
        if self.multi_label:
            return f"mAP {self.mean_average_precision:.4f}"
        top5 = f", top-5 {self.top5:.2f} %" if self.scores.shape[1] > 5 else ""
        return f"top-1 {self.top1:.2f} %{top5}"

    def describe_intervals(self) -> str:
        """Returns all metrics with their 95 % intervals as one line of text."""
        titles = {"top1_acc": "top-1", "balanced_acc": "balanced accuracy", "macro_f1": "macro-F1"}
        shown = [
            f"AUROC {interval.text()}"
            if name == "auroc"
            else f"mAP {interval.text(digits=4)}"
            if name == "map"
            else f"{titles[name]} {interval.percent()} %"
            for name, interval in self.intervals.items()
        ]
        over = f"{len(set(self.groups))} groups of videos" if self.groups else "videos"
        unknown = [interval for interval in self.intervals.values() if not interval.is_known]
        note = "; [–]: too few videos, or mistakes, for an interval" if unknown else ""
        method = "by the jackknife" if self.multi_label else "(of top-1 Wilson's, else by the jackknife)"
        return f"{', '.join(shown)}; 95 % intervals {method} over {over}{note}"

    @property
    def videos_per_class(self) -> NDArray[np.int64]:
        """Number of videos per class, (K,) int64."""
        if self.multi_label:
            return (self.labels > 0).sum(axis=0)
        return np.bincount(self.labels, minlength=self.scores.shape[1])

    @cached_property
    def mean_average_precision(self) -> float:
        """Mean over the classes with videos of the average precision, in 0 … 1, for labels (V, K)."""
        return mean_average_precision(self.scores, self.labels > 0)
