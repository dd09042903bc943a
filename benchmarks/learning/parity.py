"""Trains the same recipe in several ways, and compares their losses and accuracy, over seeds.

A faster way must learn as much: bfloat16 (`TRAIN.PRECISION`) and compilation (`TRAIN.COMPILE`) round
differently, so that single runs differ; means over seeds show whether they differ by more than the seeds do.

All results are kept in the folder --output: after an interruption the same command continues, and a command
with more ways or seeds adds to them.

examples:
  slowfast benchmark parity --data data --features cache
  slowfast benchmark parity --data data --features cache --ways float32 bfloat16 --seeds 1 2 3 4 5
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.measure import BenchmarkReport
from benchmarks.support.recorded_steps import StepRecord, spread, train_recipe

RECIPE = "PRETRAINED_DEMO"
WAYS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "float32": {},
        "bfloat16": {"TRAIN.PRECISION": "bfloat16"},
        "compiled": {"TRAIN.COMPILE": True},
        "both": {"TRAIN.PRECISION": "bfloat16", "TRAIN.COMPILE": True},
    }
)
"""Way -> changes of the recipe. The test is in float32 in all of them."""

COLUMNS = ("way", "seeds", "last loss", "± loss", "test, %", "± test", "points from float32")
RECORD = "parity.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--recipe", default=RECIPE, metavar="CONFIG")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="lists of a data set")
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="cache of the recipe's features")
    parser.add_argument("--output", type=Path, default=Path("output/parity"), metavar="FOLDER")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="changes of the recipe")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Does all trainings that are not done, and reports the chosen ones."""
    report = BenchmarkReport(
        f"Parity of {args.recipe}, seeds {', '.join(map(str, args.seeds))}", COLUMNS, file=args.json
    )
    record = StepRecord(args.output / RECORD, {"data": str(args.data.resolve()), "opts": args.opts})
    results = {
        way: [record.result(f"{way}, seed {seed}", partial(train, way, seed, args)) for seed in args.seeds]
        for way in args.ways
    }
    for way, runs in results.items():
        report.add(**_row(way, runs, results.get("float32")))
    report.notes = ["±: sample standard deviation over the seeds. last loss: mean over the last epoch."]
    return report


def train(way: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Trains and tests once; returns the loss of the last epoch and the top-1 accuracy of the test in %."""
    folder = args.output / f"{way}-seed{seed}"
    values = {
        "DATA.PATH_TO_DATA_DIR": args.data,
        **({"DATA.FEATURES": args.features} if args.features else {}),
        "RNG_SEED": seed,
        **WAYS[way],
    }
    _, log = train_recipe(args.recipe, values, folder, args.opts)
    return {"loss": log.epochs[-1].loss, "top1": log.test["top1_acc"]}


def _row(way: str, runs: list[dict[str, float]], exact: list[dict[str, float]] | None) -> dict[str, Any]:
    """Returns a row of the table."""
    losses, accuracies = [run["loss"] for run in runs], [run["top1"] for run in runs]
    row: dict[str, Any] = {
        "way": way,
        "seeds": len(runs),
        "last loss": statistics.mean(losses),
        "± loss": spread(losses),
        "test, %": statistics.mean(accuracies),
        "± test": spread(accuracies),
        "losses": losses,
        "accuracies": accuracies,
    }
    if exact is not None:
        row["points from float32"] = row["test, %"] - statistics.mean(run["top1"] for run in exact)
    return row
