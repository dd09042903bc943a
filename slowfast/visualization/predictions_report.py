"""The report of predictions files alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from slowfast.engine.prediction_file import Predictions
from slowfast.errors import DataError
from slowfast.visualization.report import Report, Result, write_report
from slowfast.visualization.sections.mistakes import top_confusions

_STRIPS = 2


def write_predictions_report(path: str | Path, tests: Mapping[str, Predictions]) -> None:
    """Writes a page about tests of the same classes, with filmstrips of the confusions of the first one.

    Args:
        path: of the page, ``.html``.
        tests: name -> predictions of videos with one class each; the page is about the first one.

    Raises:
        DataError: for another suffix, and for videos with several classes or without scores.
    """
    if Path(path).suffix != ".html":
        raise DataError(f"--report {path}: must end in .html")
    for name, predictions in tests.items():
        if predictions.multi_label or len(predictions.labels) == 0:
            raise DataError(f"{name}: a report needs videos with scores, and with one class each")
    main = next(iter(tests.values()))
    results = [Result(name, predictions) for name, predictions in tests.items()]
    report = Report(
        title=f"Test of {len(main.labels)} videos",
        summary=f"Predictions for {len(main.class_names)} classes.",
        results=results,
        confusions=top_confusions(main, strips=_STRIPS),
    )
    write_report(path, report)
