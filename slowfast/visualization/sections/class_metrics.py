"""Precision, recall and F1 per class, and the confusion matrix, readable for eight classes and for hundreds.

V videos, K classes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from slowfast.engine.prediction_file import Predictions
from slowfast.metrics.accuracy import none_if_nan, precision_recall_f1

MAX_MATRIX_CLASSES = 24
"""Larger confusion matrices are images, and tables of more classes are sorted by F1."""

# Colours of an image, which cannot follow the page: between the accents of its light and dark modes.
_COLOR = (63, 136, 245)


@dataclass(frozen=True)
class ClassRow:
    """One class of a test.

    Attributes:
        name: of the class.
        videos: number of test videos.
        precision: in percent; None for a class that was never predicted.
        recall: in percent, the accuracy of the class; None for a class without videos.
        f1: in percent; None where precision or recall is.
        others: recall in further tests, in their order.
    """

    name: str
    videos: int
    precision: float | None
    recall: float | None
    f1: float | None
    others: tuple[float | None, ...]


def class_rows(predictions: Predictions, others: Sequence[Predictions] = ()) -> list[ClassRow]:
    """Returns one row per class; those of many classes by F1, the worst first.

    Args:
        predictions: of videos with one class each.
        others: further tests of the same classes.
    """
    confusion = predictions.confusion
    predicted = confusion.sum(axis=0)
    videos = confusion.sum(axis=1)
    precision, recall, f1 = (100.0 * values for values in precision_recall_f1(confusion))
    recalls = [100.0 * other.per_class for other in others]
    rows = [
        ClassRow(
            name,
            int(videos[k]),
            float(precision[k]) if predicted[k] else None,
            float(recall[k]) if videos[k] else None,
            float(f1[k]) if videos[k] and predicted[k] else None,
            tuple(none_if_nan(values[k]) for values in recalls),
        )
        for k, name in enumerate(predictions.class_names)
    ]
    if len(rows) <= MAX_MATRIX_CLASSES:
        return rows
    # A class that is never predicted is among the worst; one without videos says nothing.
    return sorted(rows, key=lambda row: (row.videos == 0, row.f1 if row.f1 is not None else -1.0))


def confusion_image(predictions: Predictions) -> str:
    """Returns the confusion matrix as a ``data:`` address of a PNG image with a transparent background.

    Rows are true classes; the opacity of a cell is the square root of its fraction of the row, since a large
    matrix has many small ones.
    """
    confusion = predictions.confusion.astype(np.float64)
    fractions = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    pixels = np.empty((*fractions.shape, 4), np.uint8)
    pixels[..., :3] = _COLOR
    pixels[..., 3] = np.round(255 * np.sqrt(fractions))
    # Several pixels per cell, so that browsers do not blur it; 400 classes are 1,200 pixels.
    scale = max(1, 1200 // len(fractions))
    file = io.BytesIO()
    Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
