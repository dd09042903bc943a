"""The report of some runs: one HTML file that needs neither a network nor a script.

It is made of what runs leave behind (predictions files and ``metrics.jsonl``) and of filmstrips; whatever
only a model can tell, such as attention weights, is handed in as data. K classes, V videos.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from slowfast.engine.prediction_file import Predictions
from slowfast.files import write_text
from slowfast.log import METRICS_FILE
from slowfast.metrics import confusion_matrix, per_class_accuracy
from slowfast.visualization.charts import Line, line_chart
from slowfast.visualization.filmstrip import Filmstrip

_PACKAGES = ("torch", "torchvision", "timm", "transformers", "av", "numpy")


@dataclass(frozen=True)
class Result:
    """One evaluation, a line of the table.

    Attributes:
        name: what was evaluated, and how.
        predictions: as the test saved them, one label a video.
        note: what the line shows.
    """

    name: str
    predictions: Predictions
    note: str = ""

    @property
    def num_videos(self) -> int:
        return len(self.predictions.labels)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K) counts, row = true class, column = predicted class."""
        found = self.predictions
        return confusion_matrix(found.predicted, found.labels, len(found.class_names))

    @property
    def top1(self) -> float:
        """In percent."""
        return 100.0 * float(np.trace(self.confusion)) / max(1, self.num_videos)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of ``top1``, in percent (Wilson's score interval)."""
        return tuple(100.0 * x for x in wilson_interval(self.top1 / 100.0, self.num_videos))  # type: ignore[return-value]

    @property
    def per_class(self) -> NDArray[np.float64]:
        """(K,) accuracy of each class in percent; NaN for classes without videos."""
        return 100.0 * per_class_accuracy(self.confusion)

    @property
    def views(self) -> int:
        return int(self.predictions.num_views.max(initial=0))

    @property
    def seconds_per_video(self) -> float:
        return float(self.predictions.meta["seconds_per_video"])


@dataclass(frozen=True)
class Curves:
    """What a run's ``metrics.jsonl`` tells over its epochs, each a list of (epochs done, value).

    Accuracies are in percent.
    """

    train_loss: list[tuple[float, float]]
    train_top1: list[tuple[float, float]]
    val_loss: list[tuple[float, float]]
    val_top1: list[tuple[float, float]]


@dataclass(frozen=True)
class Report:
    """All that is shown.

    Attributes:
        title, summary: the head of the page.
        results: lines of the table, the main one first; its confusion matrix is shown.
        curves: of each trained run, by name.
        filmstrips: some videos.
        filmstrip_note: what the weights under their frames are.
        notes: paragraphs under the table.
        config: the configuration of the main run, YAML.
        timings: (what, seconds).
        packages: installed packages whose versions are shown before those that every run depends on.
    """

    title: str
    summary: str
    results: Sequence[Result]
    curves: Mapping[str, Curves] = field(default_factory=dict)
    filmstrips: Sequence[Filmstrip] = ()
    filmstrip_note: str = ""
    notes: Sequence[str] = ()
    config: str = ""
    timings: Sequence[tuple[str, float]] = ()
    packages: Sequence[str] = ()


def write_report(path: str | Path, report: Report) -> None:
    """Writes the page, atomically."""
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """Returns the page: HTML that loads nothing from anywhere."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slowfast.visualization", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["duration"] = format_seconds
    main = report.results[0]
    return environment.get_template("report.html").render(
        report=report,
        main=main,
        class_names=main.predictions.class_names,
        charts=[Markup(chart) for chart in _charts(report.curves)],
        bars=[Markup(strip.bars) for strip in report.filmstrips],
        broken=[(result.name, video) for result in report.results for video in result.predictions.broken],
        versions=installed_versions((*report.packages, *_PACKAGES)),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    )


def read_curves(output_dir: str | Path) -> Curves:
    """Reads a run's ``metrics.jsonl``; where a resumed run repeated an epoch, its later figures count."""
    curves: dict[str, dict[float, float]] = {
        f"{part}_{figure}": {} for part in ("train", "val") for figure in ("loss", "top1")
    }
    for line in (Path(output_dir) / METRICS_FILE).read_text(encoding="utf-8").splitlines():
        stats = json.loads(line)
        part, _, kind = stats["_type"].partition("_")
        if (part, kind) not in (("train", "iter"), ("val", "epoch")):
            continue
        x = float(stats["epochs_done"] if kind == "iter" else stats["epoch"])
        if stats.get("loss") is not None:
            curves[f"{part}_loss"][x] = stats["loss"]
        if stats.get("top1_err") is not None:
            curves[f"{part}_top1"][x] = 100.0 - stats["top1_err"]
    return Curves(**{name: sorted(points.items()) for name, points in curves.items()})


def wilson_interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a share seen in ``count`` draws (Wilson 1927); 95 % for z = 1.96.

    >>> [round(x, 2) for x in wilson_interval(0.5, 100)]
    [0.4, 0.6]
    """
    if count == 0:
        return 0.0, 1.0
    centre = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, (centre - reach) / (1 + z * z / count)), min(1.0, (centre + reach) / (1 + z * z / count))


def installed_versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of ``packages``; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def format_seconds(seconds: float) -> str:
    """Returns a time as people read it.

    >>> format_seconds(0.00771), format_seconds(12.34), format_seconds(130)
    ('7.7 ms', '12.3 s', '2 min 10 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _charts(curves: Mapping[str, Curves]) -> list[str]:
    """Loss and accuracy of all runs; a run has one colour, dashed in training."""
    if not curves:
        return []
    loss: list[Line] = []
    top1: list[Line] = []
    for colour, (name, run) in enumerate(curves.items()):
        loss += [Line(f"{name}, training", run.train_loss, colour, dashed=True)]
        loss += [Line(f"{name}, validation", run.val_loss, colour)]
        top1 += [Line(f"{name}, training", run.train_top1, colour, dashed=True)]
        top1 += [Line(f"{name}, validation", run.val_top1, colour)]
    return [
        line_chart(top1, title="Accuracy", x_label="epochs", y_label="top-1 in percent", y_range=(0, 100)),
        line_chart(loss, title="Loss", x_label="epochs", y_label="cross entropy"),
    ]
