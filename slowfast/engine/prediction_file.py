"""The predictions file of a test.

The file has two forms, ``.npz`` and ``.csv``. Arrays of the ``.npz`` (V videos with scores, K classes, X
videos without all of their scores), which ``numpy.load`` reads without pickle:

=================  =====================  ==========================================================
``video_ids``      (V,) int64             row in the annotation file, ascending
``paths``          (V,) text              the videos
``originals``      (V,) text              for videos in shards the files they were copied from; else (0,)
``segments``       (V, 2) float64         start and end in the files, seconds; (0, 2) for full files
``labels``         (V,) int64             class index; (V, K) float32 for multi-label
``scores``         (V, K) float32         merged over the views
``num_views``      (V,) int64             views that the scores were merged from
``class_names``    (K,) text              in the order of the classes
``groups``         (V,) text              group of each video; (0,) where each is a group of its own
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.clip import BrokenVideo
from slowfast.engine.video_scores import VideoScores
from slowfast.errors import DataError
from slowfast.features.file_reader import refuse_padding
from slowfast.files import atomic_write
from slowfast.video.archive.member import TarMember

if TYPE_CHECKING:
    from slowfast.datasets.video_dataset import ViewDataset
    from slowfast.engine.evaluate import Evaluation


@dataclass(frozen=True, kw_only=True)
class Predictions(VideoScores):
    """The content of a predictions file; the docstring of the module describes each array."""

    paths: list[str]
    class_names: list[str]
    meta: dict[str, Any]
    originals: tuple[str, ...] = ()
    segments: NDArray[np.float64] | None = None

    def segment(self, row: int) -> tuple[float, float] | None:
        """Returns start and end of a video in its file, in seconds; None for a full file."""
        if self.segments is None:
            return None
        start, end = self.segments[row].tolist()
        return start, end

    def short_name(self, row: int) -> str:
        """Returns the name of a video's file with its folder, and the seconds of a segment."""
        name = str(Path(*Path(self.paths[row]).parts[-2:]))
        segment = self.segment(row)
        return name if segment is None else f"{name}, {segment[0]:g} to {segment[1]:g} s"


def predictions_of(
    evaluation: Evaluation, dataset: ViewDataset, class_names: Sequence[str], meta: Mapping[str, Any]
) -> Predictions:
    """Returns the predictions of an evaluation.

    Args:
        dataset: of the split, whose paths are files or members of shards.
        class_names: in the order of the classes.
        meta: metrics and other values that json can represent.
    """
    own = [dataset.paths[video] for video in evaluation.video_ids]
    originals = tuple(path.original for path in own if isinstance(path, TarMember))
    return Predictions(
        video_ids=evaluation.video_ids,
        paths=[str(path) for path in own],
        originals=originals if any(originals) else (),
        labels=evaluation.labels,
        scores=evaluation.scores,
        num_views=evaluation.num_views,
        class_names=list(class_names),
        broken=evaluation.broken,
        groups=evaluation.groups,
        meta=dict(meta),
        segments=None if dataset.segments is None else dataset.segments[evaluation.video_ids],
    )


def save_predictions(path: str | Path, predictions: Predictions) -> None:
    """Writes ``path`` (``.npz``) and a table (``.csv``) beside it, both atomically."""
    path = Path(path).with_suffix(".npz")
    arrays = {
        "video_ids": predictions.video_ids,
        "paths": np.array(predictions.paths, dtype=str),
        "originals": np.array(predictions.originals, dtype=str),
        "segments": np.zeros((0, 2)) if predictions.segments is None else predictions.segments,
        "labels": predictions.labels,
        "scores": predictions.scores,
        "num_views": predictions.num_views,
        "class_names": np.array(predictions.class_names, dtype=str),
        "groups": np.array(predictions.groups, dtype=str),
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
        table = csv.DictWriter(file, _columns(predictions), restval="")
        table.writeheader()
        table.writerows(_rows(predictions))


def load_predictions(path: str | Path) -> Predictions:
    """Reads a file that :func:`save_predictions` wrote.

    Raises:
        DataError: if it does not exist, is not a predictions file, has arrays that do not fit together, or
            unpacks to far more than its size.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            refuse_padding(arrays.zip)
            columns = ("broken_ids", "broken_paths", "broken_reasons", "broken_details")
            rows = zip(*(arrays[name].tolist() for name in columns), strict=True)
            predictions = Predictions(
                video_ids=arrays["video_ids"],
                paths=arrays["paths"].tolist(),
                labels=arrays["labels"],
                scores=arrays["scores"],
                num_views=arrays["num_views"],
                class_names=arrays["class_names"].tolist(),
                broken=tuple(BrokenVideo(*row) for row in rows),
                groups=tuple(arrays["groups"].tolist()) if "groups" in arrays else (),
                originals=tuple(arrays["originals"].tolist()) if "originals" in arrays else (),
                meta=json.loads(str(arrays["meta"])),
                segments=arrays["segments"] if "segments" in arrays and len(arrays["segments"]) else None,
            )
        _check_arrays(predictions)
        return predictions
    except Exception as error:  # a damaged archive can raise any error
        raise DataError(f"{path} cannot be read as a predictions file: {_reason(path, error)}") from error


def _check_arrays(predictions: Predictions) -> None:
    """Raises ``ValueError`` for arrays that are not as the docstring of this module says."""
    (num_videos, num_classes), labels = predictions.scores.shape, predictions.labels
    rows: dict[str, Any] = {name: getattr(predictions, name) for name in ("video_ids", "paths", "num_views")}
    optional = {name: getattr(predictions, name) for name in ("groups", "originals", "segments")}
    rows |= {name: values for name, values in optional.items() if values is not None and len(values)}
    for name, values in {**rows, "labels": labels}.items():
        if len(values) != num_videos:
            raise ValueError(f"{name} has {len(values)} rows, but scores has {num_videos}")
    if np.isnan(predictions.scores).any():
        raise ValueError("scores has values that are not a number")
    if num_videos and len(predictions.class_names) != num_classes:
        raise ValueError(f"class_names has {len(predictions.class_names)} names for {num_classes} classes")
    if labels.ndim == 1:
        if labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < num_classes)).all():
            raise ValueError(f"labels must be whole numbers from 0 to {num_classes - 1}")
    elif labels.shape != predictions.scores.shape:
        raise ValueError(f"labels has shape {labels.shape}, but scores has {predictions.scores.shape}")
    if not isinstance(predictions.meta, dict):
        raise ValueError("meta must be an object of JSON")


def _reason(path: str | Path, error: Exception) -> str:
    """Returns why a file is not a predictions file, and the file that may be meant."""
    path = Path(path)
    if path.suffix == ".npz" or not path.exists():
        return getattr(error, "strerror", None) or str(error)
    meant = path.with_suffix(".npz")
    return "its name must end in .npz" + (f"; give {meant}, which lies beside it" if meant.is_file() else "")


def _columns(predictions: Predictions) -> list[str]:
    """Returns the columns of the table; those of segments and shards are the last ones."""
    columns = ["video_id", "path", "label", "predicted", "score", "right", "num_views", "problem"]
    columns += ["start", "end"] if predictions.segments is not None else []
    return [*columns, "original"] if predictions.originals else columns


def _rows(predictions: Predictions) -> Iterator[dict[str, Any]]:
    """Yields one row of the table per video with scores, then one per broken video."""
    names = predictions.class_names
    for row, guess in enumerate(predictions.predicted.tolist()):
        label = predictions.labels[row]
        true = np.flatnonzero(label > 0).tolist() if predictions.multi_label else [int(label)]
        cells = {
            "video_id": int(predictions.video_ids[row]),
            "path": predictions.paths[row],
            "label": ";".join(names[k] for k in true),
            "predicted": names[guess],
            "score": f"{predictions.scores[row, guess]:.6g}",
            "right": int(guess in true),
            "num_views": int(predictions.num_views[row]),
        }
        if (segment := predictions.segment(row)) is not None:
            cells["start"], cells["end"] = (f"{seconds:g}" for seconds in segment)
        if predictions.originals:
            cells["original"] = predictions.originals[row]
        yield cells
    for video in predictions.broken:
        problem = f"{video.reason}: {video.detail}" if video.detail else video.reason
        yield {"video_id": video.video_id, "path": video.path, "problem": problem}
