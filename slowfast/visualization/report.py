"""The report of a set of runs: one HTML file that requires neither a network nor scripts.

It shows the results of runs (predictions files and ``metrics.jsonl``) and filmstrips. Values that require a
model, such as attention weights, are passed as data.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from slowfast.datasets.class_names import class_texts
from slowfast.engine.prediction_file import Predictions
from slowfast.engine.testing.order_report import ORDER_NAMES, OrderReport
from slowfast.errors import counted
from slowfast.files import write_text
from slowfast.metrics.intervals import Interval
from slowfast.tracking.environment import installed_versions
from slowfast.visualization.charts import NUM_COLORS, curve_chart, has_curve
from slowfast.visualization.filmstrip import Filmstrip
from slowfast.visualization.page import fill_template
from slowfast.visualization.run_log import Metric, RunLog
from slowfast.visualization.sections.calibration import MIN_VIDEOS, measure_calibration, reliability_chart
from slowfast.visualization.sections.class_metrics import MAX_MATRIX_CLASSES, class_rows, confusion_image
from slowfast.visualization.sections.label_metrics import label_rows, videos_by_label_count, worst_labels
from slowfast.visualization.sections.mistakes import surest_mistakes, top_confusions

_PACKAGES = ("torch", "torchvision", "timm", "transformers", "av", "numpy")
_CHARTS: tuple[tuple[str, Metric], ...] = (
    ("Accuracy, top-1 in percent", "top1"),
    ("Mean average precision", "map"),
    ("Loss", "loss"),
)
"""(title in the page, metric)"""
_CLASS_METRICS = {"balanced_acc": "balanced accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}


@dataclass(frozen=True)
class Result:
    """One evaluation, which is one row of the table of results.

    Attributes:
        name: title of the evaluation.
        predictions: predictions of a test; all tests of a page have one class per video, or all several.
        note: explanation of the row.
    """

    name: str
    predictions: Predictions
    note: str = ""

    @property
    def num_videos(self) -> int:
        """Number of videos with scores."""
        return len(self.predictions.labels)

    @property
    def value(self) -> float:
        """Top-1 accuracy in percent, or mean average precision where videos may have several classes."""
        if self.predictions.multi_label:
            return 100.0 * self.predictions.mean_average_precision
        return self.predictions.top1

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of ``value``, in percent.

        See :attr:`slowfast.engine.video_scores.VideoScores.intervals`.
        """
        name = "map" if self.predictions.multi_label else "top1_acc"
        _, low, high = self.predictions.intervals.get(name, (0.0, 0.0, 1.0))
        return 100.0 * low, 100.0 * high

    @property
    def class_metrics(self) -> dict[str, Interval]:
        """Title -> interval of the metrics in which all classes count alike."""
        intervals = self.predictions.intervals
        return {title: intervals[name] for name, title in _CLASS_METRICS.items() if name in intervals}

    @property
    def views(self) -> int:
        """Number of views per video."""
        return int(self.predictions.num_views.max(initial=0))

    @property
    def seconds_per_video(self) -> float | None:
        """Mean time per video of the test; None where it is unknown, such as of fused predictions."""
        seconds = self.predictions.meta.get("seconds_per_video")
        return None if seconds is None else float(seconds)


@dataclass(frozen=True)
class Report:
    """The content of the page.

    Attributes:
        title, summary: head of the page.
        results: rows of the table; the sections about classes and mistakes are about the first one.
        runs: logs of the trained runs, whose curves are drawn.
        filmstrips: some videos.
        filmstrip_note: explanation of the weights under the frames.
        order: tests of the same videos in other orders of their frames; None: there were none.
        tables: further sections, of a table each.
        strips: filmstrips per confusion of the first result; for several classes per video, any number stands
            for one of the missed and one of the mistaken videos of each class of low average precision.
        notes: paragraphs under the table.
        config: configuration of the main run, as YAML.
        timings: (step, seconds).
        packages: installed packages whose versions are listed first.
    """

    title: str
    summary: str
    results: Sequence[Result]
    runs: Sequence[RunLog] = ()
    filmstrips: Sequence[Filmstrip] = ()
    filmstrip_note: str = ""
    order: OrderReport | None = None
    tables: Sequence[Table] = ()
    strips: int = 0
    notes: Sequence[str] = ()
    config: str = ""
    timings: Sequence[tuple[str, float]] = ()
    packages: Sequence[str] = ()


def write_report(path: str | Path, report: Report) -> None:
    """Writes the page atomically."""
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """Returns the page as HTML without references to other files."""
    main = report.results[0]
    # Unnamed classes have numbers as names, which alone could be counts or scores.
    texts = dict(zip(main.predictions.class_names, class_texts(main.predictions.class_names), strict=True))
    multi_label = main.predictions.multi_label
    titles = dict.fromkeys(title for result in report.results for title in result.class_metrics)
    sections = _label_values(report) if multi_label else _class_values(report)
    return fill_template(
        "slowfast.visualization",
        "report.html",
        {"duration": format_seconds, "class_text": lambda name: texts.get(name, name), "counted": counted},
        report=report,
        main=main,
        class_names=main.predictions.class_names,
        class_metrics=list(titles),
        charts=[
            (title, Markup(curve_chart(report.runs, metric)))
            for title, metric in _CHARTS
            if has_curve(report.runs, metric)
        ],
        num_colors=NUM_COLORS,
        **sections,
        multi_label=multi_label,
        order_names=ORDER_NAMES,
        bars=[Markup(strip.bars) for strip in report.filmstrips],
        broken=[(result.name, video) for result in report.results for video in result.predictions.broken],
        versions=installed_versions((*report.packages, *_PACKAGES)),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    )


def format_seconds(seconds: float) -> str:
    """Returns a duration as text with a suitable unit.

    >>> format_seconds(0.00771), format_seconds(12.34), format_seconds(130)
    ('7.7 ms', '12.3 s', '2 min 10 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


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


def _label_values(report: Report) -> dict[str, Any]:
    """Returns the variables of the template of tests with several classes per video."""
    main, *others = (result.predictions for result in report.results)
    shown = worst_labels(main, strips=min(report.strips, 1))
    return {
        "label_rows": label_rows(main, others),
        "label_counts": videos_by_label_count(main),
        "worst_labels": shown,
        "strips_shown": any(e.strip for label in shown for e in (*label.missed, *label.mistaken)),
    }


def _class_values(report: Report) -> dict[str, Any]:
    """Returns the variables of the templates of tests with one class per video."""
    main, *others = report.results
    measured = [(result, measure_calibration(result.predictions)) for result in report.results]
    calibrations = [(result, found) for result, found in measured if found is not None]
    chart = ""
    if calibrations and calibrations[0][0] is main:
        chart = reliability_chart(calibrations[0][1], main.name)
    many = len(main.predictions.class_names) > MAX_MATRIX_CLASSES
    return {
        "class_rows": class_rows(main.predictions, [result.predictions for result in others]),
        "max_matrix_classes": MAX_MATRIX_CLASSES,
        "matrix_image": confusion_image(main.predictions) if many else "",
        "calibrations": calibrations if chart else [],
        "min_bin_videos": MIN_VIDEOS,
        "reliability": Markup(chart),
        "confusions": top_confusions(main.predictions, strips=report.strips),
        "mistakes": surest_mistakes(main.predictions),
        "num_wrong": int((main.predictions.predicted != main.predictions.labels).sum()),
    }
