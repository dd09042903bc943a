"""The predictions file of a test: scores and labels by video, as ``.npz`` and as ``.csv``.

Arrays of the ``.npz`` (V videos with scores, K classes, X videos without all of their scores); readable
by ``numpy.load`` without pickles:

=================  =====================  ==========================================================
``video_ids``      (V,) int64             row in the annotation file, rising
``paths``          (V,) text              the videos
``labels``         (V,) int64             class index; (V, K) float32 for multi-label
``scores``         (V, K) float32         merged over the views
``num_views``      (V,) int64             views that the scores were merged from
``class_names``    (K,) text              in the order of the classes
``broken_ids``     (X,) int64             videos that could not be scored, or not in all views
``broken_paths``   (X,) text
``broken_reasons`` (X,) text              short class of the failure
``broken_details`` (X,) text              what the decoder said
``meta``           () text, JSON          ``top1_acc``, ``top5_acc`` (percent) or ``map``, ``seconds`` …
=================  =====================  ==========================================================
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.clip import BrokenVideo
from slowfast.engine.evaluate import Evaluation
from slowfast.errors import DataError
from slowfast.files import atomic_write


@dataclass(frozen=True)
class Predictions:
    """What a predictions file holds; the module says what each array is."""

    video_ids: NDArray[np.int64]
    paths: list[str]
    labels: NDArray[Any]
    scores: NDArray[np.float32]
    num_views: NDArray[np.int64]
    class_names: list[str]
    broken: tuple[BrokenVideo, ...]
    meta: dict[str, Any]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(V,) class of the highest score."""
        return self.scores.argmax(axis=1) if len(self.scores) else np.zeros(0, dtype=np.int64)


def predictions_of(
    evaluation: Evaluation, *, paths: Sequence[str], class_names: Sequence[str], meta: Mapping[str, Any]
) -> Predictions:
    """Puts an evaluation together with the ``paths`` of all videos of the split, by id."""
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
    """Writes ``path`` (``.npz``) and the same as ``.csv`` beside it, both atomically."""
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
    """Reads what :func:`save_predictions` wrote.

    Raises:
        DataError: when there is no such file, or it is not one of ours.
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
    except Exception as error:  # a damaged archive can fail in any way
        raise DataError(f"{path} cannot be read as a predictions file: {error}") from error


def _rows(predictions: Predictions) -> list[list[Any]]:
    """The table: one row a video with scores, then one a broken video."""
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
