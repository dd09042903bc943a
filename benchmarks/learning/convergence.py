"""Trains a VTN with several optimisers and compares their loss curves, over seeds.

cases:
  features  PRETRAINED_DEMO from cached features of a frozen network, the quickstart's 3,200 videos, 10 epochs
  few       the same with the first 160 videos of the list, 30 epochs
  frames    QUICKSTART from frames, with a backbone that is trained too, 3,200 videos, 6 epochs

optimisers:
  adamw     that of the recipes: 5e-4, cosine, warm-up of half an epoch
  adam-1e-3, sgd-1e-2, sgd-1e-3
            from the full rate on, times 0.1 after epochs 13 and 24; sgd-1e-3 is that of the paper

All results are kept in the folder --output: after an interruption the same command continues, and a command
with more cases, optimisers or seeds adds to them.

examples:
  slowfast benchmark convergence
  slowfast benchmark convergence --cases frames --optimizers adamw sgd-1e-3 --plot convergence.png
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.measure import BenchmarkReport
from benchmarks.support.recorded_steps import StepRecord, run_timed, spread, train_recipe
from slowfast.distributed.device import count_accelerators
from slowfast.files import write_text
from vtn.quickstart.dataset import DatasetSettings, generate_dataset


@dataclass(frozen=True)
class Case:
    """A recipe and its data.

    Attributes:
        recipe: name of the configuration.
        epochs: of a training.
        videos: first videos of the training list that are used; 0: all.
        cached: whether features of a cache are trained on.
    """

    recipe: str
    epochs: int
    videos: int = 0
    cached: bool = True


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "features": Case("PRETRAINED_DEMO", 10),
        "few": Case("PRETRAINED_DEMO", 30, videos=160),
        "frames": Case("QUICKSTART", 6, cached=False),
    }
)

_STEPS = {
    "SOLVER.LR_POLICY": "steps_with_relative_lrs",
    "SOLVER.STEPS": "[0, 13, 24]",
    "SOLVER.LRS": "[1, 0.1, 0.01]",
    "SOLVER.WARMUP_EPOCHS": 0,
}
_SGD = {
    **_STEPS,
    "SOLVER.OPTIMIZING_METHOD": "sgd",
    "SOLVER.NESTEROV": True,
    "SOLVER.WEIGHT_DECAY": 0.0001,
}
_ADAM = {**_STEPS, "SOLVER.OPTIMIZING_METHOD": "adam", "SOLVER.WEIGHT_DECAY": 0, "SOLVER.BASE_LR": 0.001}
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "adamw": {},
        "adam-1e-3": _ADAM,
        "sgd-1e-2": {**_SGD, "SOLVER.BASE_LR": 0.01},
        "sgd-1e-3": {**_SGD, "SOLVER.BASE_LR": 0.001},
    }
)
"""Optimiser -> changes of the recipe."""

COLUMNS = ("case", "optimiser", "seeds", "first loss", "last loss", "±", "validation, %", "±, points")
RECORD = "convergence.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument(
        "--optimizers", nargs="+", default=list(OPTIMIZERS), choices=list(OPTIMIZERS), metavar="NAME"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="the quickstart's train.csv and val.csv (default: written to OUTPUT/data)",
    )
    parser.add_argument(
        "--features", type=Path, metavar="FOLDER", help="cache of PRETRAINED_DEMO (default: extracted)"
    )
    parser.add_argument("--output", type=Path, default=Path("output/convergence"), metavar="FOLDER")
    parser.add_argument("--plot", metavar="FILE", help="draw the training losses")
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="further changes of the recipes"
    )


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Does all trainings that are not done, and reports the chosen ones."""
    report = BenchmarkReport(f"Convergence, seeds {', '.join(map(str, args.seeds))}", COLUMNS, file=args.json)
    if args.data is None:
        args.data = args.output / "data"
        generate_dataset(args.data, DatasetSettings())
    record = StepRecord(args.output / RECORD, {"data": str(args.data.resolve()), "opts": args.opts})
    for case in args.cases:
        lists = _lists(case, args)
        if CASES[case].cached and args.features is None:
            record.result("extraction", partial(extract, args))
        for optimizer in args.optimizers:
            runs = [
                record.result(
                    f"{case}, {optimizer}, seed {seed}", partial(train, case, optimizer, seed, lists, args)
                )
                for seed in args.seeds
            ]
            report.add(**_row(case, optimizer, runs))
    report.notes = [
        "loss: mean over the steps of an epoch and over the seeds. ±: sample standard deviation. validation:",
        "top-1 after the last epoch. JSON has the losses of all epochs, and all values of each seed.",
    ]
    if args.plot:
        plot(report, args.plot)
    return report


def extract(args: argparse.Namespace) -> dict[str, Any]:
    """Extracts the features of the quickstart's videos; returns the seconds."""
    command = ["--cfg", "PRETRAINED_DEMO", "DATA.PATH_TO_DATA_DIR", str(args.data)]
    command += ["DATA.FEATURES", str(_features(args)), "OUTPUT_DIR", str(args.output / "extraction")]
    command += ["NUM_GPUS", str(min(1, count_accelerators())), *args.opts]
    return {"seconds": run_timed("slowfast.cli.extract", command, _features(args))}


def train(case: str, optimizer: str, seed: int, lists: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Trains with one seed; returns the training loss of each epoch and the last validation accuracy."""
    found = CASES[case]
    folder = args.output / "runs" / f"{case}-{optimizer}-seed{seed}"
    values = {
        "DATA.PATH_TO_DATA_DIR": lists,
        "DATA.PATH_PREFIX": args.data.resolve(),
        "DATA.FEATURES": _features(args) if found.cached else "",
        "SOLVER.MAX_EPOCH": found.epochs,
        "TRAIN.EVAL_PERIOD": found.epochs,
        "TRAIN.CHECKPOINT_PERIOD": found.epochs,
        "TEST.ENABLE": False,
        "RNG_SEED": seed,
        **OPTIMIZERS[optimizer],
    }
    seconds, log = train_recipe(found.recipe, values, folder, args.opts)
    return {
        "seconds": seconds,
        "losses": [epoch.loss for epoch in log.epochs],
        "validation": log.epochs[-1].val_top1,
    }


def plot(report: BenchmarkReport, path: str) -> None:
    """Writes a PNG: a panel per case, mean and range over the seeds of the training loss by epoch."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row["case"] for row in report.rows))
    figure = Figure(figsize=(4.2 * len(cases), 3.6), layout="constrained")
    panels = figure.subplots(1, len(cases), squeeze=False, sharey=True)
    for panel, case in zip(panels[0], cases, strict=True):
        for row in (row for row in report.rows if row["case"] == case):
            losses = np.array(row["losses of each seed"])  # (seeds, epochs)
            epochs = np.arange(1, losses.shape[1] + 1)
            color = f"C{list(OPTIMIZERS).index(row['optimiser'])}"
            panel.plot(epochs, losses.mean(axis=0), "o-", markersize=3, color=color, label=row["optimiser"])
            panel.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.2)
        panel.set(title=case, xlabel="epoch", ylim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0][0].set_ylabel("training loss")
    figure.savefig(path, dpi=150)


def _row(case: str, optimizer: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    losses = np.array([result["losses"] for result in runs])
    validation = [result["validation"] for result in runs]
    return {
        "case": case,
        "optimiser": optimizer,
        "seeds": len(runs),
        "first loss": float(losses[:, 0].mean()),
        "last loss": float(losses[:, -1].mean()),
        "±": spread(losses[:, -1].tolist()),
        "validation, %": statistics.mean(validation),
        "±, points": spread(validation),
        "losses": losses.mean(axis=0).tolist(),
        "losses of each seed": losses.tolist(),
        "validation of each seed": validation,
    }


def _features(args: argparse.Namespace) -> Path:
    return args.features or args.output / "features"


def _lists(case: str, args: argparse.Namespace) -> Path:
    """Returns the folder of a case's lists; those of a part of the videos are written."""
    if not (videos := CASES[case].videos):
        return args.data
    folder = args.output / f"lists-{case}"
    for name, end in (("train", videos), ("val", None)):
        lines = (args.data / f"{name}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(folder / f"{name}.csv", "".join(lines[:end]))
    return folder
