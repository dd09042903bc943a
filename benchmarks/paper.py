"""Compares VTN with 3D networks and video transformers: size, multiply-adds, time per video, training time.

Measures the comparison of VTN's table 2 (Neimark et al. 2021, arXiv 2102.00719) on this computer and prints
the published values beside it. All weights are random, since the time does not depend on them. A video has 10
seconds (300 frames of 340×256 pixels).

VTN has one view with 250 frames. Its backbone computes each frame separately, so that its time is scaled from
the time of some frames, and the encoder is timed on all of them; --all-frames times the backbone on all of
them too. Other models have several views, of which one is timed. Training is timed with one clip per step; an
epoch has the 240,000 videos of Kinetics-400.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn
from torch.nn import functional as F

from benchmarks.measure import BenchmarkReport, Timing, ratio, synchronizing, time_interleaved
from benchmarks.support.encoded_clips import make_clip
from benchmarks.support.paper_models import CANDIDATES, OURS, THEIRS
from slowfast.analysis.flops import views_of_test
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.models.capabilities import FeatureModel
from slowfast.models.complexity import clip_complexity, count_parameters
from slowfast.probe.candidate import changed

KINETICS_VIDEOS = 240_000
TIMED_FRAMES = 16
"""Number of timed frames of a long view, if a model computes each frame separately."""

COLUMNS = [
    "model", "M", "published M", "GMACs", "with attention", "published GMACs", "views", "total GMACs",
    "s/video", "s decode", "s/video all", "s/step", "h/epoch",
]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    names = list(CANDIDATES)
    parser.add_argument(
        "--models", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--parts", nargs="+", default=["test", "train"], choices=["test", "train", "count"])
    parser.add_argument("--all-frames", action="store_true", help="time all frames of a view")
    parser.add_argument(
        "--rounds", type=int, default=2, help="timed rounds of the test after one warm-up round (default: 2)"
    )
    parser.add_argument(
        "--steps", type=int, default=1, help="timed training steps after one warm-up step (default: 1)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Measures all chosen models."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cfgs = {name: CANDIDATES[name].load() for name in args.models}
    models = {name: CANDIDATES[name].build(cfg).to(args.device) for name, cfg in cfgs.items()}
    synchronize = synchronizing(args.device)
    tests, decodes, trainings = {}, {}, {}
    if "test" in args.parts:
        calls = {name: test_call(models[name], cfgs[name], args) for name in models}
        tests = time_interleaved(calls, rounds=args.rounds, synchronize=synchronize)
        print_timings("one view, or its timed frames", tests)
        decodes = time_decoding(cfgs)
    if "train" in args.parts:
        calls = {name: training_call(models[name], cfgs[name], args.device) for name in models}
        trainings = time_interleaved(calls, rounds=args.steps, synchronize=synchronize)
        print_timings("one training step", trainings)
    seconds = {name: video_seconds(timing, models[name], cfgs[name], args) for name, timing in tests.items()}
    report = BenchmarkReport(
        "random weights, float32, a video of 10 s; training: one clip per step", COLUMNS, file=args.json
    )
    for name, cfg in cfgs.items():
        report.add(**row(name, models[name], cfg, seconds.get(name), decodes.get(name), trainings.get(name)))
    report.notes += notes(seconds, decodes, trainings)
    return report


def print_timings(label: str, timings: Mapping[str, Timing]) -> None:
    """Prints timings on stderr, so that an interrupted benchmark has printed its results."""
    medians = ", ".join(f"{name} {timing.median:.3g} s" for name, timing in timings.items())
    print(f"  {label}: {medians}", file=sys.stderr)


def test_call(model: nn.Module, cfg: CfgNode, args: argparse.Namespace) -> Callable[[], object]:
    """Returns a function that computes one view, or the timed frames of a long view."""
    model.eval()
    frames, _ = views_of_test(cfg)
    timed = min(frames, TIMED_FRAMES) if isinstance(model, FeatureModel) and not args.all_frames else frames
    view = torch.randn(1, 3, timed, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE, device=args.device)

    def call() -> None:
        with torch.inference_mode():
            if not isinstance(model, FeatureModel):
                model(view)
                return
            # In chunks, as a long video is computed.
            for chunk in view.split(TIMED_FRAMES, dim=2):
                features = model.encode_frames(chunk)
            model.classify(features.new_zeros(1, frames, features.shape[-1]))

    return call


def video_seconds(timing: Timing, model: nn.Module, cfg: CfgNode, args: argparse.Namespace) -> Timing:
    """Returns the seconds for all views of a video, computed from the timed view or frames."""
    model.eval()
    frames, views = views_of_test(cfg)
    if not isinstance(model, FeatureModel) or args.all_frames or frames <= TIMED_FRAMES:
        return Timing(tuple(views * seconds for seconds in timing.seconds))
    features = torch.randn(1, frames, model.feature_dim, device=args.device)
    with torch.inference_mode():
        encoder = time_interleaved({"": lambda: model.classify(features)})[""].median
    scale = frames / TIMED_FRAMES
    return Timing(tuple(views * ((seconds - encoder) * scale + encoder) for seconds in timing.seconds))


def training_call(model: nn.Module, cfg: CfgNode, device: str) -> Callable[[], object]:
    """Returns a function that takes one training step with one clip."""
    size = cfg.DATA.TRAIN_CROP_SIZE
    clip = torch.randn(1, 3, cfg.DATA.NUM_FRAMES, size, size, device=device)
    label = torch.zeros(1, dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def call() -> None:
        model.train()
        F.cross_entropy(model(clip), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return call


def time_decoding(cfgs: Mapping[str, CfgNode]) -> dict[str, float]:
    """Returns for each model the seconds to read and crop all test views of one video; the best of two."""
    with tempfile.TemporaryDirectory() as folder:
        video = make_clip(Path(folder), (256, 340), num_frames=300, gop=12)
        Path(folder, "test.csv").write_text(f"{video} 0\n")
        return {name: min(_read_views(cfg, folder) for _ in range(2)) for name, cfg in cfgs.items()}


def _read_views(cfg: CfgNode, folder: str) -> float:
    """Returns the seconds to load all test views of the one video in ``folder``."""
    cfg = changed(cfg, [("DATA.PATH_TO_DATA_DIR", folder)])
    dataset = build_dataset(cfg, "test")
    loader = build_loader(cfg, dataset, "test", rank=0, world_size=1, batch_size=1, pin_memory=False)
    begin = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - begin


def row(
    name: str,
    model: nn.Module,
    cfg: CfgNode,
    seconds: Timing | None,
    decode: float | None,
    training: Timing | None,
) -> dict[str, Any]:
    """Returns one row of the table."""
    published = CANDIDATES[name].published
    frames, views = views_of_test(cfg)
    parameters = count_parameters(model)
    macs = clip_complexity(model, frames, cfg.DATA.TEST_CROP_SIZE).total
    cells: dict[str, Any] = {
        "model": name,
        "M": round(parameters / 1e6, 1),
        "published M": published.parameters,
        "GMACs": macs.weights / 1e9,
        "with attention": macs.total / 1e9,
        "published GMACs": published.gmacs,
        "views": views,
        "total GMACs": views * macs.total / 1e9,
        "source": published.source,
    }
    if seconds is not None and decode is not None:
        cells |= {"s/video": seconds.median, "s decode": decode, "s/video all": seconds.median + decode}
    if training is not None:
        cells |= {"s/step": training.median, "h/epoch": training.median * KINETICS_VIDEOS / 3600}
    return cells


def notes(
    seconds: Mapping[str, Timing], decodes: Mapping[str, float], trainings: Mapping[str, Timing]
) -> list[str]:
    """Returns explanations of the columns, and the measured ratios beside those of the paper."""
    lines = [
        "M: millions of parameters; GMACs: per view, without and with the products of attention, the total "
        "with them; published: as counted by the authors (VTN's authors: without)",
        "h/epoch: 240,000 clips on this computer; s decode: reading and cropping all views on one core",
    ]
    if OURS in seconds and THEIRS in seconds:
        theirs_total, ours_total = (seconds[name].median + decodes[name] for name in (THEIRS, OURS))
        lines.append(
            f"inference: {OURS} is {ratio(seconds[THEIRS], seconds[OURS]):.2f} times as fast as {THEIRS}, "
            f"{theirs_total / ours_total:.2f} times with decoding (the paper, on GPUs: 5.1)"
        )
    if OURS in trainings and THEIRS in trainings:
        clip = ratio(trainings[THEIRS], trainings[OURS])
        theirs, ours = (CANDIDATES[name].published.epochs or 1 for name in (THEIRS, OURS))
        lines.append(
            f"training: {THEIRS} takes {clip:.2f} times as long per clip as {OURS}; with {theirs} epochs and "
            f"{ours}, as published, {clip * theirs / ours:.1f} times (the paper: 16.1)"
        )
    return lines
