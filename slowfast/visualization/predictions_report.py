"""The report of predictions files alone, and the same values as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slowfast.engine.prediction_file import Predictions
from slowfast.errors import DataError, counted
from slowfast.files import write_text
from slowfast.visualization.report import Report, Result, write_report
from slowfast.visualization.sections.calibration import measure_calibration
from slowfast.visualization.sections.class_metrics import class_rows
from slowfast.visualization.sections.label_metrics import (
    LabelExample,
    label_rows,
    videos_by_label_count,
    worst_labels,
)
from slowfast.visualization.sections.mistakes import Confusion, surest_mistakes, top_confusions

_STRIPS = 2


def write_predictions_report(path: str | Path, tests: Mapping[str, Predictions]) -> None:
    """Writes a page about tests of the same classes, with filmstrips of wrong predictions of the first one.

    Args:
        path: of the page, ``.html``.
        tests: name -> predictions; the page is about the first one.

    Raises:
        DataError: for tests without scores or without labels, and for tests with one class per video beside
            tests with several.
    """
    main = _checked(tests)
    results = [Result(name, predictions) for name, predictions in tests.items()]
    several = "; videos may have several classes" if main.multi_label else ""
    report = Report(
        title=f"Test of {counted(len(main.labels), 'video')}",
        summary=f"Predictions for {counted(len(main.class_names), 'class', 'classes')}{several}.",
        results=results,
        strips=_STRIPS,
    )
    write_report(path, report)


def write_predictions_values(path: str | Path, tests: Mapping[str, Predictions]) -> None:
    """Writes the values of the page as JSON: metrics of all tests, classes and mistakes of the first one.

    Raises:
        DataError: as :func:`write_predictions_report`.
    """
    main = _checked(tests)
    others = list(tests.values())[1:]
    values: dict[str, Any] = {
        "multi_label": main.multi_label,
        "tests": [_test_values(name, predictions) for name, predictions in tests.items()],
        **(_label_values(main, others) if main.multi_label else _class_values(main, others)),
    }
    write_text(path, json.dumps(values, indent=2) + "\n")


def _checked(tests: Mapping[str, Predictions]) -> Predictions:
    """Returns the first test; see :func:`write_predictions_report` for the errors."""
    first, main = next(iter(tests.items()))
    for name, predictions in tests.items():
        if len(predictions.labels) == 0:
            raise DataError(f"{name}: must have videos with scores; the test has scored none")
        if predictions.multi_label != main.multi_label:
            wanted = "several classes" if main.multi_label else "one class"
            raise DataError(f"{name}: must have {wanted} per video, as {first} has; write a page for each")
        if predictions.multi_label and not (predictions.labels > 0).any():
            raise DataError(f"{name}: must have videos with classes; the annotations give none to any video")
    return main


def _test_values(name: str, predictions: Predictions) -> dict[str, Any]:
    result = Result(name, predictions)
    low, high = result.interval
    return {
        "name": name,
        "videos": result.num_videos,
        "broken": [video.path for video in predictions.broken],
        "map" if predictions.multi_label else "top1_acc": result.value,
        "interval": [low, high],
        "class_metrics": {
            title: list(interval) if interval.is_known else [interval.value, None, None]
            for title, interval in result.class_metrics.items()
        },
    }


def _class_values(main: Predictions, others: list[Predictions]) -> dict[str, Any]:
    calibration = measure_calibration(main)
    return {
        "classes": [asdict(row) for row in class_rows(main, others)],
        "expected_calibration_error": None if calibration is None else calibration.ece,
        "confusions": [_without_strips(confusion) for confusion in top_confusions(main)],
        "surest_mistakes": [asdict(mistake) for mistake in surest_mistakes(main)],
    }


def _label_values(main: Predictions, others: list[Predictions]) -> dict[str, Any]:
    return {
        "classes": [asdict(row) for row in label_rows(main, others)],
        "videos_by_number_of_classes": dict(videos_by_label_count(main)),
        "worst_classes": [
            {
                "class": worst.row.name,
                "has_the_class": [_without_strips(example) for example in worst.missed],
                "lacks_the_class": [_without_strips(example) for example in worst.mistaken],
            }
            for worst in worst_labels(main)
        ],
    }


def _without_strips(found: Confusion | LabelExample) -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if name not in ("strip", "strips")}
