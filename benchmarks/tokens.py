"""Compares the ways of several tokens per frame: accuracy, learnable parameters, time, size of the cache.

Each row is the recipe PRETRAINED_DEMO, a frozen ImageNet network on the quickstart's videos, with other
tokens or another fusion. The features of each choice of tokens are extracted once (`slowfast extract`); each
seed is one `slowfast run` on them, which trains, validates once and tests on whole videos.

All results are kept in the folder --output: after an interruption the same command continues, and a command
with more rows or seeds adds to them. Seconds are those of the processes, start included; they are missing
where an interruption divided a step.

rows:
  pooled      one pooled vector per frame, a linear layer to the encoder's width
  pooled-32   one pooled vector through a bottleneck of width 32, the control for 2x2 and 3x3
  2x2, 3x3    a grid of the last feature map, one linear layer to width 32, results side by side (concat)
  stage-6x6   a grid of an earlier stage (112 channels) to width 16, side by side
  attend      3x3, four learned queries attend to the tokens of a frame
  sequence    3x3, all tokens in the encoder's sequence

examples:
  slowfast benchmark tokens
  slowfast benchmark tokens --rows pooled 3x3 --seeds 1 --epochs 5 --output output/tokens_short
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import BenchmarkReport
from benchmarks.support.recorded_steps import (
    StepRecord,
    as_overrides,
    recipe_hash,
    run_timed,
    spread,
    train_recipe,
)
from slowfast.config import load_config
from slowfast.distributed.device import count_accelerators
from slowfast.models.build import build_model
from vtn.quickstart.dataset import DatasetSettings, generate_dataset

RECIPE = "PRETRAINED_DEMO"
RECORD = "tokens.json"


@dataclass(frozen=True)
class Row:
    """A way of the tokens of a frame into the encoder.

    Attributes:
        grid: rows and columns of tokens per frame.
        fusion: ``VTN.FUSION``.
        dim: ``VTN.FUSION_DIM``.
        stage: ``VTN.BACKBONE.STAGE``.
    """

    grid: tuple[int, int]
    fusion: str = "concat"
    dim: int = 0
    stage: int = 0

    @property
    def features(self) -> str:
        """Name of the features that the row needs; rows with the same name share a cache."""
        stage = f"-stage{self.stage}" if self.stage else ""
        return f"{self.grid[0]}x{self.grid[1]}{stage}"

    def changes(self) -> dict[str, Any]:
        """Returns the changes of the recipe, key -> value."""
        return {
            "VTN.BACKBONE.TOKENS": list(self.grid),
            "VTN.BACKBONE.STAGE": self.stage,
            "VTN.FUSION": self.fusion,
            "VTN.FUSION_DIM": self.dim,
        }


ROWS: Mapping[str, Row] = {
    "pooled": Row((1, 1)),
    "pooled-32": Row((1, 1), dim=32),
    "2x2": Row((2, 2), dim=32),
    "3x3": Row((3, 3), dim=32),
    "stage-6x6": Row((6, 6), dim=16, stage=4),
    "attend": Row((3, 3), "attend"),
    "sequence": Row((3, 3), "sequence"),
}

COLUMNS = (
    "row", "tokens", "encoder tokens per frame", "learnable, M", "top-1, %", "±", "seeds", "training s",
    "extraction s", "cache MB",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument("--epochs", type=int, default=20, metavar="N")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="train.csv, val.csv and test.csv (default: the quickstart's videos, written to OUTPUT/data)",
    )
    parser.add_argument("--output", type=Path, default=Path("output/tokens"), metavar="FOLDER")
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="further changes of the recipe"
    )


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Does all steps that are not done, and reports the chosen rows."""
    report = BenchmarkReport(
        f"{RECIPE} with other tokens per frame, {args.epochs} epochs, whole test videos",
        COLUMNS,
        file=args.json,
    )
    if args.data is None:
        args.data = args.output / "data"
        generate_dataset(args.data, DatasetSettings())
    settings = {
        "data": str(args.data.resolve()),
        "epochs": args.epochs,
        "opts": args.opts,
        "recipe": recipe_hash(RECIPE),
    }
    record = StepRecord(args.output / RECORD, settings)
    for name in args.rows:
        report.add(**measure_row(name, record, args))
    report.notes = [
        "top-1: mean over the seeds; ±: sample standard deviation. training s: mean over the seeds, with the",
        "test. extraction s, cache MB: for all videos, once; rows with the same tokens share a cache.",
    ]
    return report


def measure_row(name: str, record: StepRecord, args: argparse.Namespace) -> dict[str, Any]:
    """Returns one row of the report."""
    row = ROWS[name]
    sizes = record.result(f"size of {name}", lambda: measure_size(row, args))
    cache = record.result(f"extraction of {row.features}", lambda: extract(row, args))
    runs = [record.result(f"{name}, seed {seed}", partial(train, name, seed, args)) for seed in args.seeds]
    top1 = [result["top-1"] for result in runs]
    seconds = [result["seconds"] for result in runs if result["seconds"] is not None]
    return {
        "row": name,
        **sizes,
        "top-1, %": round(statistics.mean(top1), 2),
        "±": None if (found := spread(top1)) is None else round(found, 2),
        "seeds": len(top1),
        "training s": statistics.mean(seconds) if seconds else None,
        "extraction s": cache["seconds"],
        "cache MB": cache["bytes"] / 1e6,
        "top-1 per seed": dict(zip(map(str, args.seeds), top1, strict=True)),
    }


def measure_size(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Returns tokens and learnable parameters of a row's model."""
    with torch.device("meta"):
        model: Any = build_model(load_config(RECIPE, _overrides(row, args)), fetch_weights=False)
    learnable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return {
        "tokens": f"{row.grid[0]} × {row.grid[1]} × {model.feature_dim}",
        "encoder tokens per frame": model.temporal_encoder.tokens_per_frame,
        "learnable, M": learnable / 1e6,
    }


def extract(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Extracts the features of a row; returns seconds and bytes."""
    folder = args.output / "features" / row.features
    logs = ["OUTPUT_DIR", str(args.output / "extraction" / row.features)]
    command = ["--cfg", RECIPE, *_overrides(row, args), *logs]
    seconds = run_timed("slowfast.cli.extract", command, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*.npy"))
    return {"seconds": seconds, "bytes": size}


def train(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Trains and tests a row with one seed; returns the accuracy in percent, and the seconds."""
    folder = args.output / "runs" / f"{name}-seed{seed}"
    values = {**_changes(ROWS[name], args), "RNG_SEED": seed}
    seconds, log = train_recipe(RECIPE, values, folder, args.opts)
    return {"seconds": seconds, "top-1": log.test["top1_acc"], "videos": log.test["num_videos"]}


def _overrides(row: Row, args: argparse.Namespace) -> list[str]:
    return [*as_overrides(_changes(row, args)), *args.opts]


def _changes(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the changes of the recipe for extraction and training of a row, key -> value."""
    return {
        "DATA.PATH_TO_DATA_DIR": args.data,
        "DATA.FEATURES": args.output / "features" / row.features,
        "SOLVER.MAX_EPOCH": args.epochs,
        # Validation and checkpoint after the last epoch only: seconds are those of training.
        "TRAIN.EVAL_PERIOD": args.epochs,
        "TRAIN.CHECKPOINT_PERIOD": args.epochs,
        "NUM_GPUS": min(1, count_accelerators()),
        **row.changes(),
    }
