"""Training from a feature cache against training from frames through the same frozen backbone.

Parts:
  quickstart  the quickstart's videos, configuration and backbone
  vit_b       clips of 340×256 pixels, ViT-B and the paper's temporal encoder

Both ways have the same model, batches, optimiser and loader workers, and take turns in one process. A turn
counts from the first request for a batch to the last update; what workers made ahead is dropped after it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.decode import make_clip
from benchmarks.measure import Report, Timing, ratio
from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_precision, build_seeded_model, frame_normalization
from slowfast.engine.training.train_step import TrainStep
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from slowfast.models.feature_head import network_for
from slowfast.models.frame_format import adopt_frame_format
from slowfast.models.losses import get_loss
from slowfast.solver import build_optimizer
from vtn.quickstart.dataset import DatasetSettings, generate_dataset

WORKERS = 2
# Until workers have dropped what they were making ahead.
PAUSE_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way")
    parser.add_argument("--batch", type=int, default=8, help="clips of a batch of the part vit_b")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> Report:
    torch.set_num_threads(args.threads)
    report = Report(
        f"training with a frozen backbone, {WORKERS} loader workers; steps a second",
        [
            "part",
            "clips a step",
            "frames",
            "cache",
            "ratio",
            "cache: step s",
            "cache: wait s",
            "extraction s",
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            report.add(part=part, **PARTS[part](Path(folder), args))
    report.notes = [
        "ratio: median of the rounds' ratios. step s and wait s: one step from the cache, and how much of it",
        "was spent waiting for the batch. extraction s: making the cache, once, every frame that it needs.",
    ]
    return report


def quickstart(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The quickstart's own videos, a tenth as many."""
    data = folder / "quickstart"
    generate_dataset(data, DatasetSettings(train=320, val=8, test=8))
    cfg = _config("QUICKSTART", data, [])
    return compare(cfg, args, frame_steps=10, cache_steps=60)


def vit_b(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One clip of each of a batch of videos, which are as long as a training clip."""
    data = folder / "vit_b"
    data.mkdir()
    path = make_clip(data, (256, 340), 154, 12)
    names = [f"{number}.mp4" for number in range(args.batch)]
    for name in names:
        (data / name).hardlink_to(path)
    for split in ("train", "val", "test"):
        (data / f"{split}.csv").write_text("".join(f"{data / name} 0\n" for name in names))
    # Of every eighth frame, those that clips are made of.
    rate = ["DATA.TARGET_FPS", "30", "DATA.FEATURES_FPS", "3.75"]
    cfg = _config("VIT_B_VTN_FROZEN", data, ["TRAIN.BATCH_SIZE", str(args.batch), *rate])
    return compare(cfg, args, frame_steps=1, cache_steps=6)


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "quickstart": quickstart,
    "vit_b": vit_b,
}


def _config(name: str, data: Path, changes: list[str]) -> Any:
    own = ["DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(data / "output"), "NUM_GPUS", "0",
           "DATA.FEATURES", str(data / "features"), "VTN.BACKBONE.FROZEN", "True",
           "VTN.BACKBONE.PRETRAINED", "False", "DATA_LOADER.NUM_WORKERS", str(WORKERS),
           "TEST.ENABLE", "False"]  # fmt: skip
    cfg = load_config(name, [*own, *changes])
    return adopt_frame_format(cfg, build_seeded_model(cfg, World(), fetch_weights=False))


def compare(cfg: Any, args: argparse.Namespace, *, frame_steps: int, cache_steps: int) -> dict[str, Any]:
    """One row: makes the cache of the training videos, then lets both ways take turns."""
    begin = time.perf_counter()
    extract_features(cfg, World(), Interrupt(), ExtractionRequest())
    extraction = time.perf_counter() - begin
    direct = cfg.clone()
    direct.defrost()
    direct.DATA.FEATURES = ""
    ways = {"frames": Way.build(direct, frame_steps), "cache": Way.build(cfg, cache_steps)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(args.rounds + 1):
        for name, way in ways.items():
            # The first turn of the slow way would only warm up what its second step needs no more.
            taken = way.turn(way.steps if turn else 1)
            if turn:
                seconds[name].append(taken)
            time.sleep(PAUSE_SECONDS)
    timings = {name: Timing(tuple(values)) for name, values in seconds.items()}
    return {
        "clips a step": cfg.TRAIN.BATCH_SIZE,
        "frames": 1 / timings["frames"].median,
        "cache": 1 / timings["cache"].median,
        "ratio": ratio(timings["frames"], timings["cache"]),
        "cache: step s": timings["cache"].median,
        "cache: wait s": statistics.median(ways["cache"].waits[1:]),
        "extraction s": extraction,
    }


@dataclass
class Way:
    """One way to train: its loader and its step.

    Attributes:
        steps: of a turn.
        waits: seconds a step that each turn waited for its batches.
    """

    loader: Any
    step: TrainStep
    steps: int
    waits: list[float]

    @classmethod
    def build(cls, cfg: Any, steps: int) -> Way:
        model: Any = build_seeded_model(cfg, World(), fetch_weights=False)
        dataset = build_dataset(cfg, "train", position_rate=model.position_rate)
        loader = build_loader(cfg, dataset, "train", batch_size=cfg.TRAIN.BATCH_SIZE)
        mean, std = frame_normalization(cfg, model)
        step = TrainStep(
            model.train(),
            build_optimizer(cfg, model),
            loss=get_loss(cfg.MODEL.LOSS_FUNC),
            world=World(),
            precision=build_precision(cfg, World()),
            mean=mean,
            std=std,
            network=network_for(model, dataset, mean=mean, std=std, training=True),
        )
        return cls(loader, step, steps, [])

    def turn(self, steps: int) -> float:
        """Takes so many steps; returns the seconds of one."""
        begin, waited, epoch = time.perf_counter(), 0.0, 0
        batches = iter(self.loader)
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                epoch += 1
                self.loader.batch_sampler.set_position(epoch)
                batches = iter(self.loader)
                batch = next(batches)
            waited += time.perf_counter() - asked
            self.step(batch, 1e-4)
        taken = (time.perf_counter() - begin) / steps
        batches.close()
        self.waits.append(waited / steps)
        return taken
