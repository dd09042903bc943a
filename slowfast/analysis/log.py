"""Prints the metrics of runs from their logs, by epoch, and draws curves of losses and accuracies.

A table has the losses, accuracies, learning rates and step times of the epochs, then the best epoch. The last
line has mean and standard deviation of the tests of several runs, such as three seeds of one recipe. Reads
metrics.jsonl in the output folder of a run, or the json_stats lines of a log of PySlowFast.

examples:
  slowfast analyze log output/quickstart/vtn
  slowfast analyze log output/quickstart/vtn output/quickstart/baseline --output curves.svg
  slowfast analyze log output/quickstart/vtn/stdout.log --output curves.csv
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from slowfast.analysis.folds import METRICS, spread_of
from slowfast.cli.options import output_file
from slowfast.errors import counted
from slowfast.files import FIGURE_SUFFIXES, atomic_write
from slowfast.visualization.run_log import EpochMetrics, RunLog, read_run_log
from slowfast.visualization.text_table import align_columns

# Rows of a table, besides those of the last and the best epoch.
_MAX_ROWS = 20
# Keys that are named in the line of the mean.
_MAX_KEYS = 3
COLUMNS = tuple(field.name for field in fields(EpochMetrics))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this analysis."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="OUTPUT_DIR of a run, or a log file")
    parser.add_argument("--all", action="store_true", help="print all epochs of long runs, too")
    parser.add_argument(
        "--output",
        type=output_file(".csv", *FIGURE_SUFFIXES),
        metavar="FILE",
        help=f"write the curves as .csv, {', '.join(FIGURE_SUFFIXES)}",
    )


def run(args: argparse.Namespace) -> int:
    """Prints one table per run and writes the requested file; returns the exit status."""
    logs = [read_run_log(path) for path in args.runs]
    for log in logs:
        print_run(log, show_all=args.all)
    tested = {path: log.test for path, log in zip(args.runs, logs, strict=True) if log.test}
    if len(tested) > 1 and (line := describe_spread([*tested.values()], differing_keys([*tested]))):
        print(line)
    if args.output:
        write_curves(args.output, logs)
        print(args.output)
    return 0


def print_run(log: RunLog, *, show_all: bool = False) -> None:
    """Prints one line per epoch, the best epoch, and the test.

    Args:
        show_all: of a long run print all epochs, not only some at equal distances, the last and the best one.
    """
    print(f"{log.name}:")
    stride = 1 if show_all else -(-len(log.epochs) // _MAX_ROWS)
    best = log.best
    shown = [e for i, e in enumerate(log.epochs) if i % stride == 0 or e in (best, log.epochs[-1])]
    # Without the metrics that the run lacks: either accuracies, or a mean average precision.
    names = [name for name in COLUMNS if any(getattr(epoch, name) is not None for epoch in log.epochs)]
    rows = [names, *([_cell(getattr(epoch, name)) for name in names] for epoch in shown)]
    for line in align_columns(rows) if names else ():
        print(f"  {line}")
    if len(shown) < len(log.epochs):
        print(f"  {len(shown)} of {len(log.epochs)} epochs; --all prints all")
    if best is not None:
        reached = f"mAP {best.val_map:.4f} on" if best.val_top1 is None else f"{best.val_top1:.2f} % of"
        print(f"  best: epoch {best.epoch}, {reached} the validation videos")
    if log.test:
        print(f"  test: {_test_result(log.test)}")


def differing_keys(runs: Sequence[str]) -> list[str]:
    """Returns the keys in which the configurations of runs differ, without those of seeds and paths.

    Args:
        runs: output folders or log files in them; without a config.yaml there, a run is not compared.
    """
    from slowfast.checkpoint.resume import NODE_KEYS
    from slowfast.checkpoint.state import settings_of

    folders = [path if path.is_dir() else path.parent for path in map(Path, runs)]
    files = [file for folder in folders if (file := folder / "config.yaml").is_file()]
    found = [settings_of(file.read_text(encoding="utf-8")) for file in files]
    keys = {key for settings in found for key in settings}
    keys_in_order = sorted(keys, key=lambda key: (key != "MODEL.MODEL_NAME", key))
    different = [key for key in keys_in_order if any(one.get(key) != found[0].get(key) for one in found)]
    return [key for key in different if not key.startswith((*NODE_KEYS, "RNG_SEED", "DATA.PATH_"))]


def describe_spread(tests: Sequence[Mapping[str, Any]], different: Sequence[str] = ()) -> str:
    """Returns mean and standard deviation (N − 1) of each metric that all tests have; empty for one test.

    Args:
        different: keys in which the configurations of the tests differ.

    >>> describe_spread([{"top1_acc": 95.0}, {"top1_acc": 96.5}, {"top1_acc": 94.0}])
    'mean ± standard deviation of 3 tests: top-1 95.2 ± 1.3 %'
    """
    found = []
    for name, (title, digits) in METRICS.items():
        values = [float(value) for test in tests if (value := test.get(name)) is not None]
        if len(values) == len(tests) > 1 and not math.isnan(sum(values)):
            spread = spread_of(values)
            metric, _, unit = title.partition(", ")
            found.append(f"{metric} {spread.mean:.{digits}f} ± {spread.std:.{digits}f} {unit}".rstrip())
    rest = len(different) - _MAX_KEYS
    more = f" and {counted(rest, 'more key')}" if rest > 0 else ""
    differ = f" that differ in {', '.join(different[:_MAX_KEYS])}{more}" if different else ""
    return f"mean ± standard deviation of {len(tests)} tests{differ}: {', '.join(found)}" if found else ""


def _test_result(test: Mapping[str, Any]) -> str:
    """Returns the top-1 accuracy or mean average precision of a test; either may have no value."""
    name, key, form = ("top-1", "top1_acc", ".2f") if "top1_acc" in test else ("mAP", "map", ".4f")
    value = math.nan if test.get(key) is None else float(test[key])
    unit = " %" if key == "top1_acc" else ""
    return f"{name} –" if math.isnan(value) else f"{name} {value:{form}}{unit}"


def _cell(value: float | None) -> str:
    """Returns the text of a table cell."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def write_curves(path: str | Path, logs: Sequence[RunLog]) -> None:
    """Writes the metrics of all epochs as ``.csv``, or the curves of losses and accuracies as an image."""
    if Path(path).suffix == ".csv":
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["run", *COLUMNS])
            table.writerows([log.name, *astuple(epoch)] for log in logs for epoch in log.epochs)
    else:
        from slowfast.tracking.figure_text import figure_fonts
        from slowfast.visualization.charts import draw_curves

        with atomic_write(path) as temporary, figure_fonts():
            draw_curves(logs).savefig(temporary)
