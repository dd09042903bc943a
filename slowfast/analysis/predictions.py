"""Prints accuracy, worst classes and most frequent confusions from the predictions files of tests.

Several files are also fused: their scores are averaged for the videos that have scores in all files.

examples:
  slowfast analyze predictions output/quickstart/vtn/predictions.npz
  slowfast analyze predictions a.npz --confusion confusion.png --worst 20
  slowfast analyze predictions rgb.npz flow.npz --weights 1 1.5 --output fused.npz
  slowfast analyze predictions output/mine/predictions.npz --report report.html --json report.json
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.cli.options import integer_from, output_file, positive_number
from slowfast.errors import UsageError, counted
from slowfast.files import FIGURE_SUFFIXES, atomic_write
from slowfast.log import printable
from slowfast.visualization.text_table import align_columns

if TYPE_CHECKING:
    from slowfast.engine.prediction_file import Predictions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this analysis."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="predictions files (.npz), written by TEST.SAVE_RESULTS_PATH"
    )
    parser.add_argument(
        "--weights",
        type=positive_number,
        nargs="+",
        metavar="W",
        help="weight of each file in the fusion (default: 1)",
    )
    parser.add_argument(
        "--output",
        type=output_file(),
        metavar="FILE",
        help="write the fused predictions to this file (.npz) and to a .csv",
    )
    parser.add_argument(
        "--worst",
        type=integer_from(0),
        default=10,
        metavar="N",
        help="number of classes to print (default: 10)",
    )
    parser.add_argument(
        "--report",
        type=output_file(".html"),
        metavar="FILE",
        help="write a page (.html): classes, calibration, confusions with filmstrips; for several classes "
        "per video, average precision and the videos that lower it",
    )
    parser.add_argument(
        "--json",
        type=output_file(".json"),
        metavar="FILE",
        help="write the values of the page to this file (.json)",
    )
    parser.add_argument(
        "--confusion",
        type=output_file(".csv", *FIGURE_SUFFIXES),
        metavar="FILE",
        help=f"write the confusion matrix as .csv, {', '.join(FIGURE_SUFFIXES)}",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the results and writes the requested files; returns the exit status."""
    from slowfast.analysis.fusion import fuse
    from slowfast.engine.prediction_file import load_predictions, save_predictions

    if args.weights and len(args.weights) != len(args.files):
        raise UsageError(f"--weights: must be {len(args.files)} numbers, one per predictions file")
    if len(args.files) == 1 and (args.weights or args.output):
        raise UsageError("--weights and --output apply to fusion only; give several predictions files")
    loaded = [load_predictions(path) for path in args.files]
    for path, predictions in zip(args.files, loaded, strict=True):
        print(f"{path}: {summarize(predictions)}")
    shown = loaded[0]
    if len(loaded) > 1:
        shown = fuse(loaded, args.weights)
        print(f"fused: {summarize(shown)}")
    _print_worst(shown, args.worst)
    if not shown.multi_label:
        _print_confusions(shown, args.worst)
    written = []
    if args.output:
        save_predictions(args.output, shown)
        written += [str(Path(args.output).with_suffix(suffix)) for suffix in (".npz", ".csv")]
    if args.confusion:
        write_confusion(args.confusion, shown)
        written.append(args.confusion)
    if args.report or args.json:
        from slowfast.visualization.predictions_report import (
            write_predictions_report,
            write_predictions_values,
        )

        files = dict(zip(args.files, loaded, strict=True))
        tests = files if len(loaded) == 1 else {"fused": shown, **files}
        if args.report:
            write_predictions_report(args.report, tests)
            written.append(args.report)
        if args.json:
            write_predictions_values(args.json, tests)
            written.append(args.json)
    if written:
        print("\n".join(["", *written]))
    return 0


def summarize(predictions: Predictions) -> str:
    """Returns the accuracy, or mean average precision, and the number of videos."""
    videos = counted(len(predictions.scores), "video")
    if predictions.broken:
        videos += f", {len(predictions.broken)} broken"
    text = f"{predictions.describe_result()} over {videos}"
    return f"{text}; {predictions.describe_intervals()}" if predictions.intervals else text


def _print_worst(predictions: Predictions, count: int) -> None:
    """Prints the classes with the lowest accuracy, or average precision if videos have several classes."""
    import numpy as np

    from slowfast.metrics.accuracy import precision_recall_f1

    names, values, videos = predictions.class_names, predictions.per_class, predictions.videos_per_class
    known = np.flatnonzero(~np.isnan(values))
    worst = known[np.argsort(values[known], kind="stable")][:count]
    print(f"\nworst classes, by {'average precision' if predictions.multi_label else 'accuracy'}:")
    remarks = [f"of {videos[k]}" for k in worst]
    if not predictions.multi_label:
        precision, _, f1 = precision_recall_f1(predictions.confusion)
        remarks = [
            f"{remark}, precision {100 * precision[k]:.1f} %, F1 {100 * f1[k]:.1f} %"
            for k, remark in zip(worst, remarks, strict=True)
        ]
    rows = zip(worst, remarks, strict=True)
    _print_rows([(names[k], f"{100 * values[k]:.1f} %", remark) for k, remark in rows])


def _print_confusions(predictions: Predictions, count: int) -> None:
    """Prints the pairs of a true class and a wrong prediction with the highest counts."""
    from slowfast.visualization.sections.mistakes import top_confusions

    print("\nmost frequent confusions:")
    _print_rows(
        [
            (f"{found.true} predicted as {found.predicted}", counted(found.count, "time"), "")
            for found in top_confusions(predictions, count)
        ]
    )


def _print_rows(rows: Sequence[tuple[str, str, str]]) -> None:
    """Prints aligned rows of (name, value, remark)."""
    if not rows:
        print("  none")
        return
    cells = [(f"  {printable(name)}", f"{value:>9}", remark) for name, value, remark in rows]
    print("\n".join(align_columns(cells, left=(0, 2))))


def write_confusion(path: str | Path, predictions: Predictions) -> None:
    """Writes the confusion matrix: counts as ``.csv``, where rows are true classes, or an image of fractions.

    Raises:
        DataError: if videos have several classes.
    """
    confusion, names = predictions.confusion, predictions.class_names
    if Path(path).suffix == ".csv":
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [["true", *names], *([names[k], *row] for k, row in enumerate(confusion.tolist()))]
            )
    else:
        from slowfast.tracking.figure_text import figure_fonts
        from slowfast.tracking.tensorboard import draw_confusion

        with atomic_write(path) as temporary, figure_fonts():
            draw_confusion(confusion, names).savefig(temporary)
