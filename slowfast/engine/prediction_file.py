"""Scores of videos with the metrics computed from them, and the predictions file of a test.

The file has two forms, ``.npz`` and ``.csv``. Arrays of the ``.npz`` (V videos with scores, K classes, X
videos without all of their scores), which ``numpy.load`` reads without pickle:

=================  =====================  ==========================================================
``video_ids``      (V,) int64             row in the annotation file, ascending
``paths``          (V,) text              the videos
``labels``         (V,) int64             class index; (V, K) float32 for multi-label
``scores``         (V, K) float32         merged over the views
``num_views``      (V,) int64             views that the scores were merged from
``class_names``    (K,) text              in the order of the classes
``broken_ids``     (X,) int64             videos that could not be scored, or not in all views
``broken_paths``   (X,) text
``broken_reasons`` (X,) text              short name of the failure
``broken_details`` (X,) text              message of the decoder
``meta``           () text, JSON          ``top1_acc``, ``top5_acc`` (percent) or ``map``, ``seconds`` …
=================  =====================  ==========================================================
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from slowfast.datasets.clip import BrokenVideo
from slowfast.errors import DataError
from slowfast.files import atomic_write
from slowfast.metrics import (
    Interval,
    auroc,
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
    mean_average_precision,
    mean_interval,
    per_class_accuracy,
    topk_correct,
)

if TYPE_CHECKING:
    from slowfast.engine.evaluate import Evaluation


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
    """

    video_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: NDArray[Any]
    num_views: NDArray[np.int64]
    broken: tuple[BrokenVideo, ...]

    @property
    def multi_label(self) -> bool:
        """Whether videos may have several classes."""
        return self.labels.ndim == 2

    @property
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
        columns = zip(self.scores.T, self.labels.T > 0, strict=True)
        return np.array([average_precision(scores, targets) for scores, targets in columns])

    @cached_property
    def class_metrics(self) -> dict[str, float]:
        """Metrics in which all classes count alike, by their names in log lines; empty for several labels.

        ``balanced_acc`` and ``macro_f1`` in percent, and for two classes with videos ``auroc`` in 0 … 1, that
        of the second class.
        """
        if self.multi_label or len(self.labels) == 0:
            return {}
        metrics = {
            "balanced_acc": 100.0 * balanced_accuracy(self.confusion),
            "macro_f1": 100.0 * macro_f1(self.confusion),
        }
        if self.scores.shape[1] == 2 and self.videos_per_class.all():
            margin = self.scores[:, 1] - self.scores[:, 0]
            metrics["auroc"] = auroc(margin, self.labels == 1)
        return metrics

    @cached_property
    def top1_interval(self) -> Interval:
        """Top-1 accuracy in 0 … 1 with its 95 % interval, by a bootstrap over videos.

        Raises:
            DataError: if videos may have several classes, or none has scores.
        """
        if self.multi_label or len(self.labels) == 0:
            raise DataError("an interval of top-1 requires videos with scores and one class each")
        correct = (self.predicted == self.labels).astype(np.float64)
        return mean_interval(correct, [str(video) for video in range(len(correct))])

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


@dataclass(frozen=True, kw_only=True)
class Predictions(VideoScores):
    """The content of a predictions file; the docstring of the module describes each array."""

    paths: list[str]
    class_names: list[str]
    meta: dict[str, Any]


def predictions_of(
    evaluation: Evaluation, *, paths: Sequence[str], class_names: Sequence[str], meta: Mapping[str, Any]
) -> Predictions:
    """Returns the predictions of an evaluation.

    Args:
        paths: of all videos of the split, by id.
        class_names: in the order of the classes.
        meta: metrics and other values that json can represent.
    """
    return Predictions(
        video_ids=evaluation.video_ids,
        paths=[str(paths[video]) for video in evaluation.video_ids],
        labels=evaluation.labels,
        scores=evaluation.scores,
        num_views=evaluation.num_views,
        class_names=list(class_names),
        broken=evaluation.broken,
        meta=dict(meta),
    )


def save_predictions(path: str | Path, predictions: Predictions) -> None:
    """Writes ``path`` (``.npz``) and a table (``.csv``) beside it, both atomically."""
    path = Path(path).with_suffix(".npz")
    arrays = {
        "video_ids": predictions.video_ids,
        "paths": np.array(predictions.paths, dtype=str),
        "labels": predictions.labels,
        "scores": predictions.scores,
        "num_views": predictions.num_views,
        "class_names": np.array(predictions.class_names, dtype=str),
        "broken_ids": np.array([video.video_id for video in predictions.broken], dtype=np.int64),
        "broken_paths": np.array([video.path for video in predictions.broken], dtype=str),
        "broken_reasons": np.array([video.reason for video in predictions.broken], dtype=str),
        "broken_details": np.array([video.detail for video in predictions.broken], dtype=str),
        "meta": np.array(json.dumps(predictions.meta)),
    }
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
    with (
        atomic_write(path.with_suffix(".csv")) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows(_rows(predictions))


def load_predictions(path: str | Path) -> Predictions:
    """Reads a file that :func:`save_predictions` wrote.

    Raises:
        DataError: if it does not exist or is not a predictions file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = ("broken_ids", "broken_paths", "broken_reasons", "broken_details")
            rows = zip(*(arrays[name].tolist() for name in columns), strict=True)
            return Predictions(
                video_ids=arrays["video_ids"],
                paths=arrays["paths"].tolist(),
                labels=arrays["labels"],
                scores=arrays["scores"],
                num_views=arrays["num_views"],
                class_names=arrays["class_names"].tolist(),
                broken=tuple(BrokenVideo(*row) for row in rows),
                meta=json.loads(str(arrays["meta"])),
            )
    except Exception as error:  # a damaged archive can raise any error
        raise DataError(f"{path} cannot be read as a predictions file: {error}") from error


def _rows(predictions: Predictions) -> list[list[Any]]:
    """Returns the table: a header, one row per video with scores, then one per broken video."""
    names, multi_label = predictions.class_names, predictions.labels.ndim == 2
    table: list[list[Any]] = [
        ["video_id", "path", "label", "predicted", "score", "right", "num_views", "problem"]
    ]
    for row, guess in enumerate(predictions.predicted.tolist()):
        label = predictions.labels[row]
        true = np.flatnonzero(label > 0).tolist() if multi_label else [int(label)]
        table.append(
            [
                int(predictions.video_ids[row]),
                predictions.paths[row],
                ";".join(names[k] for k in true),
                names[guess],
                f"{predictions.scores[row, guess]:.6g}",
                int(guess in true),
                int(predictions.num_views[row]),
                "",
            ]
        )
    for video in predictions.broken:
        problem = f"{video.reason}: {video.detail}" if video.detail else video.reason
        table.append([video.video_id, video.path, "", "", "", "", "", problem])
    return table
