"""Curves of runs, from their logs: losses, accuracies, rates and times by epoch, and the best epoch.

Reads metrics.jsonl of a run's folder, or the json_stats lines of any log of PySlowFast's kind.

examples:
  python tools/analyze.py log output/quickstart/vtn
  python tools/analyze.py log output/quickstart/vtn output/quickstart/baseline --output curves.svg
  python tools/analyze.py log output/quickstart/vtn/stdout.log --output curves.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.analysis import PICTURES
from slowfast.errors import DataError
from slowfast.files import atomic_write

if TYPE_CHECKING:
    from slowfast.visualization.run_log import RunLog

COLUMNS = ("epoch", "loss", "top1", "val_loss", "val_top1", "lr", "step_seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this analysis."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="OUTPUT_DIR of a run, or a log file")
    parser.add_argument("--output", metavar="F", help=f"write the curves as .csv, {', '.join(PICTURES)}")


def run(args: argparse.Namespace) -> int:
    """Prints a table a run, and writes the curves where asked to."""
    from slowfast.visualization.run_log import read_run_log

    logs = [read_run_log(path) for path in args.runs]
    for log in logs:
        print_run(log)
    if args.output:
        write_curves(args.output, logs)
    return 0


def print_run(log: RunLog) -> None:
    """Prints one line an epoch, the best of them, and the test."""
    print(f"{log.name}:")
    rows = [COLUMNS, *(tuple(_cell(value) for value in asdict(epoch).values()) for epoch in log.epochs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    if log.best is not None:
        print(f"  best: epoch {log.best.epoch}, {log.best.val_top1:.2f} % of the validation videos")
    if log.test:
        figure = (
            f"top-1 {float(log.test['top1_acc']):.2f} %"
            if "top1_acc" in log.test
            else f"mAP {float(log.test['map']):.4f}"
        )
        print(f"  test: {figure}")


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def write_curves(path: str | Path, logs: Sequence[RunLog]) -> None:
    """Writes all epochs of all runs as ``.csv``, or losses and accuracies as a picture.

    Raises:
        DataError: for another suffix.
    """
    suffix = Path(path).suffix
    if suffix == ".csv":
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["run", *COLUMNS])
            table.writerows([log.name, *asdict(epoch).values()] for log in logs for epoch in log.epochs)
    elif suffix in PICTURES:
        with atomic_write(path) as temporary:
            draw_curves(logs).savefig(temporary)
    else:
        raise DataError(f"--output {path}: is of no known kind; use .csv, {', '.join(PICTURES)}")


def draw_curves(logs: Sequence[RunLog]) -> Any:
    """Losses and accuracies over epochs: training dashed, validation solid, a colour a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, training, validation, label in zip(
        figure.subplots(1, 2), ("loss", "top1"), ("val_loss", "val_top1"), ("loss", "top-1, %"), strict=True
    ):
        for number, log in enumerate(logs):
            for name, style in ((training, "--"), (validation, "-")):
                values = [(epoch.epoch, getattr(epoch, name)) for epoch in log.epochs]
                points = [(epoch, value) for epoch, value in values if value is not None]
                if points:
                    part = f"{log.name}, {'training' if style == '--' else 'validation'}"
                    axes.plot(*zip(*points, strict=True), style, color=f"C{number}", label=part)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    return figure
