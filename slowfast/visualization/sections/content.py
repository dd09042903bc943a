"""The values of the sections about classes, labels, calibration, mistakes and the order of frames.

The report of a set of tests shows those of its first test, with the recall and the calibration of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slowfast.visualization.sections.calibration import MIN_VIDEOS, measure_calibration, reliability_chart
from slowfast.visualization.sections.class_metrics import MAX_MATRIX_CLASSES, class_rows, confusion_image
from slowfast.visualization.sections.label_metrics import (
    WorstLabel,
    label_rows,
    videos_by_label_count,
    worst_labels,
)
from slowfast.visualization.sections.mistakes import Confusion, surest_mistakes, top_confusions

if TYPE_CHECKING:
    from slowfast.visualization.report import Result


@dataclass(frozen=True)
class Table:
    """A section of one table.

    Attributes:
        title: of the section.
        note: explanation of the table.
        caption: of the table.
        header: names of the columns.
        rows: cells of each row as text, the first one its name.
    """

    title: str
    note: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def label_values(results: Sequence[Result], worst: Sequence[WorstLabel] | None) -> dict[str, Any]:
    """Returns the variables of the template of tests with several classes per video.

    Args:
        results: of the tests; the sections are about the first one.
        worst: its classes of the lowest average precision; None: without filmstrips.
    """
    main = results[0].predictions
    shown = worst_labels(main) if worst is None else worst
    return {
        "label_rows": label_rows(main, [result.predictions for result in results[1:]]),
        "label_counts": videos_by_label_count(main),
        "worst_labels": shown,
        "strips_shown": any(e.strip for label in shown for e in (*label.missed, *label.mistaken)),
    }


def section_values(results: Sequence[Result], confusions: Sequence[Confusion] | None) -> dict[str, Any]:
    """Returns the variables of the templates of tests with one class per video.

    Args:
        results: of tests with one class per video; the sections are about the first one.
        confusions: its most frequent confusions; None: without filmstrips.
    """
    main = results[0]
    measured = [(result, measure_calibration(result.predictions)) for result in results]
    calibrations = [(result, found) for result, found in measured if found is not None]
    chart = ""
    if calibrations and calibrations[0][0] is main:
        chart = reliability_chart(calibrations[0][1], main.name)
    many = len(main.predictions.class_names) > MAX_MATRIX_CLASSES
    return {
        "class_rows": class_rows(main.predictions, [result.predictions for result in results[1:]]),
        "max_matrix_classes": MAX_MATRIX_CLASSES,
        "matrix_image": confusion_image(main.predictions) if many else "",
        "calibrations": calibrations if chart else [],
        "min_bin_videos": MIN_VIDEOS,
        "reliability": Markup(chart),
        "confusions": top_confusions(main.predictions) if confusions is None else confusions,
        "mistakes": surest_mistakes(main.predictions),
        "num_wrong": int((main.predictions.predicted != main.predictions.labels).sum()),
    }
