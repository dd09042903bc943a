"""Measures loading: clips/s beside SPDL, torchcodec and PySlowFast's method, 10 million rows, memory.

Parts:
  clips  the Kinetics recipe (16 frames at rate 8, short side 256 to 320, crop 224, flip), normalized batches
         of 8 in the main process, for each number of workers and source size; all ways in turn, on as many
         cores as there are workers. The peers read the same frames of the same files with the same scale,
         crop and flip; they are given the frame numbers, which only ours has to find out.
  rows   reads a csv of 10 million rows, then loads real clips of a tiny video in two workers

The peers are the extra "benchmark": pip install -e '.[benchmark]'
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
from fvcore.common.config import CfgNode

from benchmarks.loading.ways import OURS, PEERS, TimedEpochs, build_ways, choose_peers, decibels, recipe
from benchmarks.measure import BenchmarkReport, peak_memory, ratio, time_interleaved, use_cores
from benchmarks.support.encoded_clips import make_clip
from slowfast.config import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import TrainSampler

SMALL_BATCH = 50
SOURCES = {"340x256": (256, 340), "1280x720": (720, 1280)}
MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2], help="0: this process loads")
    parser.add_argument("--sources", nargs="*", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, metavar="PEER", help="; ".join(PEERS))
    parser.add_argument("--clips", type=int, default=32, help="clips per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument(
        "--samples", type=int, default=50_000, help="samples to load while memory is measured"
    )


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Runs the chosen parts."""
    columns = [
        "part", "source", "workers", "loader", "clips/s per core", "core ms per clip", "ours is faster by",
        "dB to ours", "result",
    ]  # fmt: skip
    report = BenchmarkReport("Loading", columns, file=args.json)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            PARTS[part](report, Path(folder), args)
    return report


# ------------------------------------------------------------------------------- clips per second


def clips(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Times epochs of all loaders in turn, for each source size and number of workers."""
    peers, missing = choose_peers(args.peers)
    report.notes += [f"left out: {reason}" for reason in missing]
    report.notes.append("clips: all loaders keep their workers between rounds; one torch thread.")
    report.notes.append("core ms: CPU time of the process and its workers; ratios are medians of the rounds.")
    for source in args.sources:
        path = make_clip(folder, SOURCES[source], 300, 250)
        for workers in args.workers:
            with use_cores(cores := max(workers, 1)):
                cfg = recipe(folder, [str(path)] * args.clips, workers)
                ways = build_ways(cfg, peers, num_epochs=1 + args.rounds)
                quality = decibels(ways)
                epochs = {
                    name: TimedEpochs(way, tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD))
                    for name, way in ways.items()
                }
                timings = time_interleaved(epochs, rounds=args.rounds)
            for name, timing in timings.items():
                row: dict[str, Any] = {"part": "clips", "source": source, "workers": workers, "loader": name}
                row["clips/s per core"] = args.clips / timing.median / cores
                cpu_seconds = statistics.median(epochs[name].cpu_seconds[1:])
                row["core ms per clip"] = 1e3 * cpu_seconds / args.clips
                if name != OURS:
                    row["ours is faster by"] = ratio(timing, timings[OURS])
                if name in quality:
                    row["dB to ours"] = quality[name]
                report.add(**row)


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
