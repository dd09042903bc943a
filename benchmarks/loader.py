"""Measures loading: clips per second compared with PySlowFast's method, 10 million rows, memory of workers.

Parts:
  clips  the Kinetics recipe (16 frames at rate 8, short side 256 to 320, crop 224, flip), normalized batches
         of 8 in the main process, for each number of workers and source size; both methods in turn
  rows   reads a csv of 10 million rows, then loads real clips of a tiny video in two workers
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
from fvcore.common.config import CfgNode
from torch.utils.data import DataLoader

from benchmarks.decode import make_clip
from benchmarks.measure import BenchmarkReport, peak_memory, ratio, time_interleaved
from benchmarks.support.pyslowfast_loading import EagerClips
from slowfast.config import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import normalize
from slowfast.datasets.loading.loader import ClipLoader, build_loader
from slowfast.datasets.loading.samplers import TrainSampler

BATCH, SMALL_BATCH = 8, 50
SOURCES = {"340x256": (256, 340), "1280x720": (720, 1280)}
MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--workers", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--sources", nargs="*", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--clips", type=int, default=48, help="clips per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument(
        "--samples", type=int, default=50_000, help="samples to load while memory is measured"
    )


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Runs the chosen parts."""
    columns = [
        "part",
        "source",
        "workers",
        "ours, clips/s",
        "PySlowFast's method, clips/s",
        "ratio",
        "result",
    ]
    report = BenchmarkReport("Loading", columns)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            PARTS[part](report, Path(folder), args)
    return report


# ------------------------------------------------------------------------------- clips per second


def clips(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Times one epoch with both methods, for each source size and number of workers."""
    report.notes.append("clips: both loaders keep their workers between rounds; one torch thread.")
    for source in args.sources:
        path = make_clip(folder, SOURCES[source], 300, 250)
        for workers in args.workers:
            cfg = _recipe(folder, [str(path)] * args.clips, workers)
            candidates = {"ours": _ours(cfg), "eager": _eager(cfg, [str(path)] * args.clips)}
            timings = time_interleaved(candidates, rounds=args.rounds)
            report.add(
                part="clips",
                source=source,
                workers=workers,
                **{
                    "ours, clips/s": args.clips / timings["ours"].median,
                    "PySlowFast's method, clips/s": args.clips / timings["eager"].median,
                    "ratio": ratio(timings["eager"], timings["ours"]),
                },
            )


def _recipe(folder: Path, paths: list[str], workers: int) -> CfgNode:
    """Writes a csv of the paths; returns the Kinetics recipe for it."""
    (folder / "train.csv").write_text("".join(f"{path} 0\n" for path in paths))
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = 16, 8, 30
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE = [256, 320], 224
    cfg.DATA_LOADER.NUM_WORKERS = workers
    return cfg


def _ours(cfg: CfgNode) -> Callable[[], None]:
    """Returns a function that loads one epoch with this package."""
    loader = build_loader(cfg, build_dataset(cfg, "train"), "train", batch_size=BATCH)
    mean, std = tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD)

    def epoch() -> None:
        for batch in loader:
            normalize(batch.frames, mean, std)

    return epoch


def _eager(cfg: CfgNode, paths: list[str]) -> Callable[[], None]:
    """Returns a function that loads one epoch with PySlowFast's method."""
    dataset = EagerClips(
        paths,
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        target_fps=cfg.DATA.TARGET_FPS,
        short_sides=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
    )
    workers = cfg.DATA_LOADER.NUM_WORKERS
    loader = DataLoader(
        dataset, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


# ----------------------------------------------------------------------------------- many rows


def rows(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Measures in a new process, so that memory freed by earlier parts does not hide the memory needed."""
    tiny = make_clip(folder, (48, 64), 24, 12)
    with open(folder / "train.csv", "w") as file:
        for start in range(0, args.rows, 1 << 16):
            file.writelines(f"{tiny} {i % 400}\n" for i in range(start, min(start + (1 << 16), args.rows)))
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_memory, args=(sender, str(folder), args.samples))
    process.start()
    sender.close()
    try:
        while True:
            source, result = receiver.recv()
            report.add(part="rows", source=source, result=result)
    except EOFError:
        process.join()
    report.notes.append("rows: a worker's own memory is the memory that no other process shares (USS).")


def _measure_memory(sender: Connection, folder: str, samples: int) -> None:
    """Reads the csv, then loads samples; sends the peak memory and the workers' memory on the way."""
    torch.set_num_threads(1)
    cfg = _small(folder)
    loaded: list[Any] = []
    begin = time.perf_counter()
    peak = peak_memory(lambda: loaded.append(build_dataset(cfg, "train")))
    seconds = time.perf_counter() - begin
    dataset = loaded[0]
    size = f"{len(dataset):,} rows"
    sender.send((size, f"read in {seconds:.1f} s, peak {peak / MIB:.0f} MB"))
    loader = ClipLoader(dataset, TrainSampler(len(dataset), SMALL_BATCH), num_workers=2, sample_timeout=60)
    fifth = max(samples // SMALL_BATCH // 5, 1)
    for number, _ in enumerate(islice(loader, 5 * fifth), start=1):
        if number % fifth == 0:
            own = [worker.memory_full_info().uss / MIB for worker in psutil.Process().children()]
            memory = ", ".join(f"{value:.1f}" for value in own)
            sender.send((f"{number * SMALL_BATCH:,} samples", f"workers' own memory {memory} MB"))


def _small(folder: str) -> CfgNode:
    """Returns a configuration for clips of 4 frames with 32 × 32 pixels."""
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = folder
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = 4, 2
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE = [32, 40], 32
    return cfg


PARTS = {"clips": clips, "rows": rows}
