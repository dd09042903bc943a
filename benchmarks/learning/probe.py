"""Measures the search on cached features: candidates per minute, against `slowfast run`, one after another.

`slowfast probe` searches among candidates on features of random videos in five folds, as a process of its
own: its seconds are those from start to report, baselines included. Then `slowfast run` trains some of the
same candidates, one after another, on the lists of one fold, with one validation. Its mean seconds per
training, times the trainings of the search, are what the search would take without `slowfast probe`: they are
scaled from few trainings, not measured for all of them.

The features are noise around a path of each class, so that losses fall as on real videos. With --data and
--features both use a real cache instead.

examples:
  slowfast benchmark probe
  slowfast benchmark probe --data data --features cache --limit 300
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from benchmarks.measure import BenchmarkReport
from benchmarks.support.recorded_steps import as_overrides, run_timed
from slowfast.config import load_config
from slowfast.distributed.device import count_accelerators
from slowfast.files import write_text
from slowfast.probe.candidate import Candidate, changed, find_source
from slowfast.probe.folds import group_folds

RECIPE = "SMALL_DATA"
FPS = 10.0

COLUMNS = ("way", "trainings", "seconds", "trainings per minute", "candidates per minute", "speed-up")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--limit", type=int, default=300, metavar="N", help="videos")
    parser.add_argument("--rows", type=int, default=25, metavar="N", help="rows of features per video")
    parser.add_argument("--width", type=int, default=1280, metavar="N", help="width of a row")
    parser.add_argument("--classes", type=int, default=8, metavar="N")
    parser.add_argument("--candidates", type=int, default=40, metavar="N")
    parser.add_argument("--folds", type=int, default=5, metavar="N")
    parser.add_argument("--workers", type=int, metavar="N", help="processes of the search")
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="candidates that slowfast run trains"
    )
    parser.add_argument("--data", metavar="FOLDER", help="lists of a data set, with --features")
    parser.add_argument("--features", metavar="FOLDER", help="cache of its features (slowfast extract)")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="changes of the recipe")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Measures both ways and reports them."""
    report = BenchmarkReport(
        f"{args.candidates} candidates, {args.folds} folds, {args.limit} videos, cached features",
        COLUMNS,
        file=args.json,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        overrides = prepare_data(args, folder)
        trainings, seconds = time_search(args, overrides, folder)
        per_run = time_runs(args, overrides, folder)
    for way, total in (("slowfast run, scaled", per_run * trainings), ("slowfast probe", seconds)):
        report.add(
            **{
                "way": way,
                "trainings": trainings,
                "seconds": total,
                "trainings per minute": 60 * trainings / total,
                "candidates per minute": 60 * args.candidates / total,
                "speed-up": per_run * trainings / total,
            }
        )
    report.notes = [
        "trainings: those of the search, which trains the best third of the candidates on all folds.",
        f"slowfast run, scaled: the mean of {args.runs} trainings, times the trainings of the search.",
    ]
    return report


def prepare_data(args: argparse.Namespace, folder: Path) -> list[str]:
    """Writes features where none are given, and returns the changes of the recipe, ``[KEY, VALUE, …]``."""
    values: dict[str, Any] = {"NUM_GPUS": min(1, count_accelerators()), "TEST.ENABLE": False}
    if args.data and args.features:
        values |= {"DATA.PATH_TO_DATA_DIR": args.data, "DATA.FEATURES": args.features}
    else:
        write_features(args, folder)
        values |= {
            "TRAIN.DATASET": "features",
            "TEST.DATASET": "features",
            "DATA.PATH_TO_DATA_DIR": folder,
            "DATA.FEATURES_FPS": FPS,
            "DATA.TARGET_FPS": FPS,
            "MODEL.NUM_CLASSES": args.classes,
            "VTN.BACKBONE.NAME": "precomputed",
            "VTN.BACKBONE.ARGS": {"feature_dim": args.width},
        }
    return [*as_overrides(values), *args.opts]


def write_features(args: argparse.Namespace, folder: Path) -> None:
    """Writes files of features (rows, width) float16 and the lists ``train.csv`` and ``val.csv``."""
    rng = np.random.default_rng(0)
    ways = rng.normal(size=(args.classes, args.rows, args.width)).cumsum(axis=1) / args.rows**0.5
    lines = []
    for video in range(args.limit):
        label = video % args.classes
        rows = 0.05 * ways[label] + rng.normal(size=(args.rows, args.width))
        np.save(folder / f"{video}.npy", rows.astype(np.float16))
        lines.append(f"{folder}/{video}.npy {label}\n")
    write_text(folder / "train.csv", "".join(lines))
    write_text(folder / "val.csv", "".join(lines[: args.classes]))


def time_search(args: argparse.Namespace, overrides: Sequence[str], folder: Path) -> tuple[int, float]:
    """Returns the number of trainings of a search, and the seconds of its process."""
    output = folder / "probe"
    options = ["--splits", "train", "--folds", str(args.folds), "--candidates", str(args.candidates)]
    options += ["--seeds", "1", "--limit", str(args.limit)]
    options += ["--workers", str(args.workers)] if args.workers else []
    command = ["--cfg", RECIPE, *options, *overrides, "OUTPUT_DIR", str(output)]
    begin = time.perf_counter()
    run_timed("slowfast.cli.probe", command, output)
    seconds = time.perf_counter() - begin
    # The files of baselines have the names of these.
    names = [path.name for path in (output / "trainings").iterdir()]
    return sum(not name.startswith(("linear", "majority")) for name in names), seconds


def time_runs(args: argparse.Namespace, overrides: Sequence[str], folder: Path) -> float:
    """Returns the mean seconds of ``slowfast run`` for candidates spread over those of the search."""
    cfg = load_config(RECIPE, list(overrides))
    lines = Path(cfg.DATA.PATH_TO_DATA_DIR, "train.csv").read_text().splitlines()[: args.limit]
    labels = [int(line.rsplit(" ", 1)[1]) for line in lines]
    folds = group_folds(labels, lines, args.folds)
    lists = folder / "fold"
    lists.mkdir()
    for name, chosen in (("train", folds != 0), ("val", folds == 0)):
        text = "".join(f"{line}\n" for line, own in zip(lines, chosen, strict=True) if own)
        write_text(lists / f"{name}.csv", text)
    seconds = []
    for number, candidate in enumerate(choose(args, cfg, int((folds != 0).sum()))):
        seconds.append(time_run(candidate.apply(cfg), lists, folder / f"run{number}"))
    return statistics.mean(seconds)


def choose(args: argparse.Namespace, cfg: CfgNode, num_videos: int) -> list[Candidate]:
    """Returns ``--runs`` candidates, evenly spaced among those of the search."""
    found = find_source(cfg).candidates(
        cfg, row_shape=(args.width,), num_videos=num_videos, limit=args.candidates
    )
    return [found[index] for index in np.linspace(0, len(found) - 1, args.runs).astype(int)]


def time_run(cfg: CfgNode, lists: Path, output: Path) -> float:
    """Returns the seconds of a process that trains a configuration and validates once."""
    last = cfg.SOLVER.MAX_EPOCH
    values = [("DATA.PATH_TO_DATA_DIR", str(lists)), ("OUTPUT_DIR", str(output))]
    # Names in a cache are relative to the folder of the data set.
    values.append(
        ("DATA.PATH_PREFIX", cfg.DATA.PATH_PREFIX or str(Path(cfg.DATA.PATH_TO_DATA_DIR).resolve()))
    )
    own = changed(cfg, [*values, ("TRAIN.EVAL_PERIOD", last), ("TRAIN.CHECKPOINT_PERIOD", last)])
    file = output.with_suffix(".yaml")
    write_text(file, own.dump())
    begin = time.perf_counter()
    run_timed("slowfast.cli.run", ["--cfg", str(file)], output)
    return time.perf_counter() - begin
