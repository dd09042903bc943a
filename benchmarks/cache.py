"""Compares training from a feature cache with training from frames through the same frozen backbone.

Parts:
  quickstart  the quickstart's videos, configuration and backbone
  vit_b       clips of 340×256 pixels, ViT-B and the paper's temporal encoder
  grids       caches of several tokens per frame: reading whole videos and clips of 16 frames, against plain
              reads of as many bytes from the same files

Both sources of training have the same model, batches, optimizer and loader workers, and alternate in one
process. A round is timed from the first request for a batch to the last update; batches that workers have
prepared in advance are discarded after it. The part grids measures the CPU time of one process with a warm
page cache, so that neither the disk nor other processes take part.

examples:
  slowfast benchmark cache --parts grids --megabytes 1000
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
from fvcore.common.config import CfgNode

from benchmarks.measure import BenchmarkReport, Timing, ratio
from benchmarks.support.encoded_clips import make_clip
from benchmarks.support.token_caches import measure_reading, write_cache
from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.distributed.world import World
from slowfast.engine.run_model import build_seeded_model
from slowfast.engine.training.train_step import TrainStep
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from slowfast.models.feature_head import network_for
from slowfast.models.frame_format import adopt_frame_format, frame_normalization
from slowfast.models.losses import LOSS_REGISTRY
from slowfast.models.precision import build_precision
from slowfast.probe.candidate import changed
from slowfast.solver import build_optimizer
from vtn.quickstart.dataset import DatasetSettings, generate_dataset

WORKERS = 2
# Time for the workers to finish and discard the batches that they were preparing.
PAUSE_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per source")
    parser.add_argument("--batch-size", type=int, default=8, help="clips per batch in the part vit_b")
    parser.add_argument(
        "--megabytes", type=int, default=500, metavar="N", help="size of each cache in the part grids"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Runs the chosen parts."""
    torch.set_num_threads(args.threads)
    parts = [PARTS[name] for name in args.parts]
    columns = [name for kind in dict.fromkeys(part.columns for part in parts) for name in kind]
    report = BenchmarkReport(
        f"features of a frozen backbone, {WORKERS} loader workers",
        list(dict.fromkeys(columns)),
        file=args.json,
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in args.parts:
            for row in PARTS[name].rows(Path(folder), args):
                report.add(part=name, **row)
    report.notes = [note for kind in dict.fromkeys(part.notes for part in parts) for note in kind]
    return report


def quickstart(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures the quickstart with a tenth of its videos."""
    data = folder / "quickstart"
    generate_dataset(data, DatasetSettings(train=320, val=8, test=8))
    cfg = _config("QUICKSTART", data, [])
    return [compare(cfg, args, frame_steps=10, cache_steps=60)]


def vit_b(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures ViT-B with one batch of videos, each as long as a training clip."""
    data = folder / "vit_b"
    data.mkdir()
    path = make_clip(data, (256, 340), 154, 12)
    names = [f"{number}.mp4" for number in range(args.batch_size)]
    for name in names:
        (data / name).hardlink_to(path)
    for split in ("train", "val", "test"):
        (data / f"{split}.csv").write_text("".join(f"{data / name} 0\n" for name in names))
    # One feature for every eighth frame: the frames that clips consist of.
    rate = ["DATA.TARGET_FPS", "30", "DATA.FEATURES_FPS", "3.75"]
    cfg = _config("VIT_B_VTN_FROZEN", data, ["TRAIN.BATCH_SIZE", str(args.batch_size), *rate])
    return [compare(cfg, args, frame_steps=1, cache_steps=6)]


def grids(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures a 3 × 3 grid of EfficientNet-Lite0, and all patches of ViT-B/16 at 224 pixels."""
    rows = []
    for shape in ((9, 1280), (196, 768)):
        cache = write_cache(folder / f"{shape[0]}_tokens", shape, args.megabytes)
        rows.append(measure_reading(cache, max(args.rounds, 7)))
    return rows


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes:
        rows: returns the rows of the report for a folder for its files and the arguments.
        columns: keys of these rows.
        notes: explanations of the columns.
    """

    rows: Callable[[Path, argparse.Namespace], list[dict[str, Any]]]
    columns: tuple[str, ...]
    notes: tuple[str, ...]


TRAINING_COLUMNS = (
    "part", "clips per step", "frames", "cache", "ratio", "cache: step s", "cache: wait s", "extraction s",
)  # fmt: skip
TRAINING_NOTES = (
    "frames, cache: training steps per second; ratio: median over the rounds. step s, wait s: seconds per",
    "step from the cache, and those of them spent waiting for the batch. extraction s: extraction of all",
    "features that the cache needs, once.",
)
READING_COLUMNS = (
    "part", "row", "row kB", "whole: rows/s", "whole: MB/s", "whole: plain MB/s", "whole: of plain",
    "clips: rows/s", "clips: MB/s", "clips: plain MB/s", "clips: of plain",
)  # fmt: skip
READING_NOTES = (
    "row: tokens × width of a frame, float16. whole: all 250 frames of a video; clips: 16, every fourth one.",
    "plain: numpy.fromfile of as many bytes; of plain: median over the rounds of the ratio of speeds. A view",
    "also costs its plan and two opened files, a fixed time that weighs on small clips.",
)
PARTS: dict[str, Part] = {
    "quickstart": Part(quickstart, TRAINING_COLUMNS, TRAINING_NOTES),
    "vit_b": Part(vit_b, TRAINING_COLUMNS, TRAINING_NOTES),
    "grids": Part(grids, READING_COLUMNS, READING_NOTES),
}


def _config(name: str, data: Path, changes: list[str]) -> CfgNode:
    """Returns a recipe for the videos in ``data``, with a frozen backbone and a feature cache."""
    own = ["DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(data / "output"), "NUM_GPUS", "0",
           "DATA.FEATURES", str(data / "features"), "VTN.BACKBONE.FROZEN", "True",
           "VTN.BACKBONE.PRETRAINED", "False", "DATA_LOADER.NUM_WORKERS", str(WORKERS),
           "TEST.ENABLE", "False"]  # fmt: skip
    cfg = load_config(name, [*own, *changes])
    return adopt_frame_format(cfg, build_seeded_model(cfg, World(), fetch_weights=False))


def compare(cfg: CfgNode, args: argparse.Namespace, *, frame_steps: int, cache_steps: int) -> dict[str, Any]:
    """Returns one row: extracts the features of the training videos, then times both sources in turn."""
    begin = time.perf_counter()
    extract_features(cfg, World(), Interrupt(), ExtractionRequest())
    extraction = time.perf_counter() - begin
    direct = changed(cfg, [("DATA.FEATURES", "")])
    sources = {"frames": Source.build(direct, frame_steps), "cache": Source.build(cfg, cache_steps)}
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(args.rounds + 1):
        for name, source in sources.items():
            # Round 0 is the warm-up, for which one step is enough.
            step_seconds = source.train(source.steps if number else 1)
            if number:
                seconds[name].append(step_seconds)
            time.sleep(PAUSE_SECONDS)
    timings = {name: Timing(tuple(values)) for name, values in seconds.items()}
    return {
        "clips per step": cfg.TRAIN.BATCH_SIZE,
        "frames": 1 / timings["frames"].median,
        "cache": 1 / timings["cache"].median,
        "ratio": ratio(timings["frames"], timings["cache"]),
        "cache: step s": timings["cache"].median,
        "cache: wait s": statistics.median(sources["cache"].waits[1:]),
        "extraction s": extraction,
    }


@dataclass
class Source:
    """A source of training inputs, frames or cached features, with its loader and training step.

    Attributes:
        steps: number of steps per round.
        waits: for each round, the seconds per step spent waiting for a batch.
    """

    loader: Any
    step: TrainStep
    steps: int
    waits: list[float]

    @classmethod
    def build(cls, cfg: CfgNode, steps: int) -> Source:
        """Builds the model, the loader and the training step of a configuration."""
        model: Any = build_seeded_model(cfg, World(), fetch_weights=False)
        dataset = build_dataset(cfg, "train", position_rate=model.position_rate)
        loader = build_loader(cfg, dataset, "train", batch_size=cfg.TRAIN.BATCH_SIZE)
        normalization = frame_normalization(cfg, model)
        step = TrainStep(
            model.train(),
            build_optimizer(cfg, model),
            loss=LOSS_REGISTRY.get(cfg.MODEL.LOSS_FUNC),
            world=World(),
            precision=build_precision(cfg, "train", World().device),
            normalization=normalization,
            network=network_for(model, dataset, normalization, training=True),
        )
        return cls(loader, step, steps, [])

    def train(self, steps: int) -> float:
        """Takes ``steps`` training steps; returns the seconds per step."""
        begin, waited, epoch = time.perf_counter(), 0.0, 0
        batches = iter(self.loader)
        for _ in range(steps):
            requested = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                epoch += 1
                self.loader.batch_sampler.set_position(epoch)
                batches = iter(self.loader)
                batch = next(batches)
            waited += time.perf_counter() - requested
            self.step(batch, 1e-4)
        step_seconds = (time.perf_counter() - begin) / steps
        batches.close()
        self.waits.append(waited / steps)
        return step_seconds
