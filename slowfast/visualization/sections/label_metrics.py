"""Tests of videos with several classes each: average precision per class, and the videos that lower it.

V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.class_names import class_texts
from slowfast.engine.prediction_file import Predictions
from slowfast.metrics.accuracy import none_if_nan
from slowfast.visualization.filmstrip import Filmstrip, try_filmstrip

MAX_WORST = 6
MAX_EXAMPLES = 3


@dataclass(frozen=True)
class LabelRow:
    """One class of a test.

    Attributes:
        name: of the class.
        videos: number of test videos that have it.
        fraction: of all videos, in percent; scores without any relation to the class have this average
            precision in the mean.
        average_precision: in percent; None for a class without videos.
        others: average precision in further tests, in their order.
    """

    name: str
    videos: int
    fraction: float
    average_precision: float | None
    others: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class LabelExample:
    """A video that is ranked wrongly for a class.

    Attributes:
        video: path.
        name: of the file with its folder, and the seconds of a segment.
        score: of the class.
        rank: place in the descending order of the scores of the class, from 1; videos of equal score share
            the first place of them.
        labels: names of the classes that the video has.
        strip: frames of the video; None: not asked for, or not decodable.
    """

    video: str
    name: str
    score: float
    rank: int
    labels: tuple[str, ...]
    strip: Filmstrip | None = None


@dataclass(frozen=True)
class WorstLabel:
    """A class of low average precision.

    Attributes:
        row: its metrics.
        missed: videos that have the class, the lowest score first.
        mistaken: videos that do not have it, the highest score first.
    """

    row: LabelRow
    missed: tuple[LabelExample, ...]
    mistaken: tuple[LabelExample, ...]


def label_rows(predictions: Predictions, others: Sequence[Predictions] = ()) -> list[LabelRow]:
    """Returns one row per class, the lowest average precision first, classes without videos last.

    Args:
        predictions: of videos with labels (V, K).
        others: further tests of the same classes.
    """
    videos, num_videos = predictions.videos_per_class, len(predictions.labels)
    columns = [_percent(tested.per_class) for tested in (predictions, *others)]
    rows = [
        LabelRow(
            name,
            int(videos[k]),
            100.0 * int(videos[k]) / max(1, num_videos),
            columns[0][k],
            tuple(column[k] for column in columns[1:]),
        )
        for k, name in enumerate(predictions.class_names)
    ]
    return sorted(rows, key=lambda row: (row.average_precision is None, row.average_precision or 0.0))


def videos_by_label_count(predictions: Predictions) -> list[tuple[int, int]]:
    """Returns (number of classes, number of videos with that number) for all numbers that occur."""
    counts = np.bincount((predictions.labels > 0).sum(axis=1))
    return [(number, int(videos)) for number, videos in enumerate(counts) if videos]


def worst_labels(predictions: Predictions, *, strips: int = 0) -> list[WorstLabel]:
    """Returns the ``MAX_WORST`` classes of the lowest average precision below 1.

    Each has at most ``MAX_EXAMPLES`` missed and as many mistaken videos, those that lower it most.

    Args:
        strips: filmstrips of each of the two; videos that cannot be decoded have none, and the log names
            them.
    """
    index = {name: k for k, name in enumerate(predictions.class_names)}
    worst: list[WorstLabel] = []
    for row in label_rows(predictions):
        if len(worst) == MAX_WORST or row.average_precision is None or row.average_precision >= 100.0:
            break
        k = index[row.name]
        has_class = predictions.labels[:, k] > 0
        scores = predictions.scores[:, k]
        # A video that has the class lowers the precision only where one without it has as high a score.
        missed = np.flatnonzero(has_class & (scores <= scores[~has_class].max(initial=-np.inf)))
        mistaken = np.flatnonzero(~has_class & (scores >= scores[has_class].min(initial=np.inf)))
        missed = missed[np.argsort(scores[missed], kind="stable")][:MAX_EXAMPLES]
        mistaken = mistaken[np.argsort(-scores[mistaken], kind="stable")][:MAX_EXAMPLES]
        worst.append(
            WorstLabel(
                row,
                _examples(predictions, k, missed, strips),
                _examples(predictions, k, mistaken, strips),
            )
        )
    return worst


def _percent(values: NDArray[np.float64]) -> list[float | None]:
    return [none_if_nan(100.0 * value) for value in values]


def _examples(
    predictions: Predictions, k: int, rows: NDArray[np.int64], strips: int
) -> tuple[LabelExample, ...]:
    """Returns the examples of class ``k``, the first ``strips`` of them with frames."""
    names, scores = predictions.class_names, predictions.scores[:, k]
    texts, found = class_texts(names), []
    for number, row in enumerate(rows.tolist()):
        score, name = float(scores[row]), predictions.short_name(row)
        present = np.flatnonzero(predictions.labels[row] > 0)
        labels = tuple(names[label] for label in present)
        strip = None
        if number < strips:
            true = ", ".join(texts[label] for label in present) or "no class"
            strip = try_filmstrip(predictions, row, true, texts[k], score)
        rank = int((scores > scores[row]).sum()) + 1
        found.append(LabelExample(predictions.paths[row], name, score, rank, labels, strip))
    return tuple(found)
