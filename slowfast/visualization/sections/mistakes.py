"""Mistakes of a test: the most frequent confusions with filmstrips, and the surest wrong predictions.

V videos, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.class_names import class_texts
from slowfast.engine.prediction_file import Predictions
from slowfast.visualization.filmstrip import Filmstrip, try_filmstrip

MAX_CONFUSIONS = 6
MAX_MISTAKES = 20


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction.

    Attributes:
        video: path of the video.
        name: of the file with its folder, and the seconds of a segment.
        true, predicted: names of the classes.
        true_score, predicted_score: their scores.
        segment: start and end in the file, in seconds; None: the full file.
    """

    video: str
    name: str
    true: str
    predicted: str
    true_score: float
    predicted_score: float
    segment: tuple[float, float] | None = None


@dataclass(frozen=True)
class Confusion:
    """A true class and a wrong prediction, and how often they come together.

    Attributes:
        true, predicted: names of the classes.
        count: number of videos.
        fraction: of the videos of the true class, 0 … 1.
        strips: filmstrips of the surest of these mistakes; empty: not asked for, or not decodable.
    """

    true: str
    predicted: str
    count: int
    fraction: float
    strips: tuple[Filmstrip, ...] = ()


def surest_mistakes(predictions: Predictions, count: int = MAX_MISTAKES) -> list[Mistake]:
    """Returns the wrong predictions with the highest scores, the surest first."""
    return [_mistake(predictions, row) for row in _wrong_rows(predictions)[:count].tolist()]


def top_confusions(
    predictions: Predictions, count: int = MAX_CONFUSIONS, *, strips: int = 0
) -> list[Confusion]:
    """Returns the most frequent confusions, at most ``count``, the most frequent first.

    Args:
        strips: filmstrips per confusion; videos that cannot be decoded have none, and the log names them.
    """
    confusion = predictions.confusion
    videos = confusion.sum(axis=1)
    errors = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-errors, axis=None, kind="stable")[:count]
    names, wrong = predictions.class_names, _wrong_rows(predictions)
    wrong_labels, wrong_guesses = predictions.labels[wrong], predictions.predicted[wrong]
    found = []
    for true, predicted in (divmod(int(cell), len(errors)) for cell in order):
        if not errors[true, predicted]:
            break
        rows = wrong[(wrong_labels == true) & (wrong_guesses == predicted)][:strips]
        found.append(
            Confusion(
                names[true],
                names[predicted],
                int(errors[true, predicted]),
                float(errors[true, predicted] / videos[true]),
                tuple(filter(None, (_cut_strip(predictions, row) for row in rows.tolist()))),
            )
        )
    return found


def _wrong_rows(predictions: Predictions) -> NDArray[np.intp]:
    """Returns the rows of wrong predictions, the highest score first."""
    rows = np.flatnonzero(predictions.predicted != predictions.labels)
    scores = predictions.scores[rows].max(axis=1)
    return rows[np.argsort(-scores, kind="stable")]


def _mistake(predictions: Predictions, row: int) -> Mistake:
    names, scores = predictions.class_names, predictions.scores[row]
    true, predicted = int(predictions.labels[row]), int(scores.argmax())
    return Mistake(
        predictions.paths[row],
        predictions.short_name(row),
        names[true],
        names[predicted],
        float(scores[true]),
        float(scores[predicted]),
        predictions.segment(row),
    )


def _cut_strip(predictions: Predictions, row: int) -> Filmstrip | None:
    texts, scores = class_texts(predictions.class_names), predictions.scores[row]
    true, predicted = texts[predictions.labels[row]], texts[scores.argmax()]
    return try_filmstrip(predictions, row, true, predicted, float(scores.max()))
