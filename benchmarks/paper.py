"""VTN against 3D networks and video transformers: size, multiply-adds, seconds a video, seconds of training.

The comparison of the paper's table 2, from this machine, with published figures beside ours. All weights are
random: a network computes the same whatever it learned. A video has 10 seconds (300 frames, 340×256).

VTN sees 250 frames of it in one view. Each frame goes through the backbone by itself, so that its time is
that of some frames, scaled, and of the encoder over all of them; --whole runs all of it. Others see several
views, of which one is timed. Training is timed on one clip a step; an epoch has the 240,000 videos of
Kinetics-400.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.decode import make_clip
from benchmarks.measure import Report, Timing, ratio, time_interleaved
from slowfast.analysis.flops import views_of_test
from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.models import build_model
from slowfast.models.capabilities import FrameByFrameModel
from slowfast.models.complexity import clip_complexity, count_parameters

KINETICS_VIDEOS = 240_000
TIMED_FRAMES = 16
"""Frames that stand for all of a long view, where a model looks at each by itself."""

Calls = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Published:
    """What its authors say of a model.

    Attributes:
        parameters: millions.
        gmacs: of a view, as they count.
        views: of a test video.
        epochs: of its training on Kinetics-400.
        source: of the figures.
    """

    parameters: float | None
    gmacs: float | None
    views: int
    epochs: int | None
    source: str


@dataclass(frozen=True)
class Candidate:
    """A model of the comparison.

    Attributes:
        config: of its data, and of the model unless ``build`` makes that.
        overrides: of the configuration.
        build: takes the configuration.
    """

    config: str
    published: Published
    overrides: tuple[str, ...] = ()
    build: Callable[[Any], nn.Module] = field(default=lambda cfg: build_model(cfg, fetch_weights=False))

    def load(self) -> Any:
        return load_config(self.config, ["NUM_GPUS", "0", "DATA_LOADER.NUM_WORKERS", "0", *self.overrides])


class HuggingFaceVideo(nn.Module):
    """A video classifier of ``transformers`` called with frames (B, 3, T, H, W)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return self.model(pixel_values=frames.transpose(1, 2)).logits


def timesformer(cfg: Any) -> nn.Module:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(num_frames=cfg.DATA.NUM_FRAMES, num_labels=cfg.MODEL.NUM_CLASSES)
    return HuggingFaceVideo(TimesformerForVideoClassification(config))


def videomae(cfg: Any) -> nn.Module:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(
        num_frames=cfg.DATA.NUM_FRAMES, num_labels=cfg.MODEL.NUM_CLASSES, use_mean_pooling=True
    )
    return HuggingFaceVideo(VideoMAEForVideoClassification(config))


def _clips(frames: int, rate: int, views: int, crops: int) -> tuple[str, ...]:
    """Overrides of a VTN configuration for a model that is tested on clips of 224 × 224 pixels."""
    values = {
        "DATA.NUM_FRAMES": frames, "DATA.SAMPLING_RATE": rate, "TRAIN.EVAL_FULL_VIDEO": False,
        "TEST.NUM_ENSEMBLE_VIEWS": views, "TEST.NUM_SPATIAL_CROPS": crops,
    }  # fmt: skip
    return tuple(str(item) for pair in values.items() for item in pair)


CANDIDATES: Mapping[str, Candidate] = {
    "ViT-B-VTN": Candidate("VIT_B_VTN", Published(114.0, 4218, 1, 25, "VTN, arXiv 2102.00719")),
    "ViT-B-VTN-1": Candidate("VIT_B_VTN_1LAYER", Published(95.9, None, 1, 25, "VTN, arXiv 2102.00719")),
    "SlowFast-R101-NL": Candidate(
        "SLOWFAST_NLN_16x8_R101", Published(59.9, 234, 30, 196, "SlowFast, arXiv 1812.03982")
    ),
    "I3D-R50": Candidate("I3D_8x8_R50", Published(28.04, 37.53, 30, 196, "pytorchvideo's model zoo")),
    "X3D-M": Candidate("X3D_M", Published(3.8, 6.2, 30, 300, "X3D, arXiv 2004.04730")),
    "MViT-B": Candidate("MVIT_B_16x4", Published(36.6, 70.5, 5, 200, "MViT, arXiv 2104.11227")),
    "TimeSformer": Candidate(
        "VIT_B_VTN",
        Published(121.4, 196, 3, 15, "TimeSformer, arXiv 2102.05095"),
        _clips(8, 32, 1, 3),
        timesformer,
    ),
    "VideoMAE-B": Candidate(
        "VIT_B_VTN",
        Published(87, 180, 15, None, "VideoMAE, arXiv 2203.12602"),
        _clips(16, 4, 5, 3),
        videomae,
    ),
}
OURS, THEIRS = "ViT-B-VTN", "SlowFast-R101-NL"
"""The pair of the paper's claims: training 16.1 times, inference 5.1 times as fast."""

COLUMNS = [
    "model", "M", "published M", "GMACs", "with attention", "published GMACs", "views", "total GMACs",
    "s/video", "s decode", "s/video all", "s/step", "h/epoch",
]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = list(CANDIDATES)
    parser.add_argument(
        "--models", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--parts", nargs="+", default=["test", "train"], choices=["test", "train", "count"])
    parser.add_argument("--whole", action="store_true", help="time all frames of long views (a minute each)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of the test (default: 2, after one for warmth)"
    )
    parser.add_argument("--steps", type=int, default=1, help="of the training, after one (default: 1)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")


def run(args: argparse.Namespace) -> Report:
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cfgs = {name: CANDIDATES[name].load() for name in args.models}
    models = {name: CANDIDATES[name].build(cfg).to(args.device) for name, cfg in cfgs.items()}
    synchronize = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None
    tests, decodes, trainings = {}, {}, {}
    if "test" in args.parts:
        calls = {name: test_call(models[name], cfgs[name], args) for name in models}
        tests = time_interleaved(calls, rounds=args.rounds, synchronize=synchronize)
        say("a view, or the timed part of it", tests)
        decodes = time_decoding(cfgs)
    if "train" in args.parts:
        calls = {name: training_call(models[name], cfgs[name], args.device) for name in models}
        trainings = time_interleaved(calls, rounds=args.steps, synchronize=synchronize)
        say("a training step", trainings)
    seconds = {name: video_seconds(timing, models[name], cfgs[name], args) for name, timing in tests.items()}
    report = Report("random weights, float32, a video of 10 s; training: one clip a step", COLUMNS)
    for name, cfg in cfgs.items():
        report.add(**row(name, models[name], cfg, seconds.get(name), decodes.get(name), trainings.get(name)))
    report.notes += notes(seconds, decodes, trainings)
    return report


def say(what: str, timings: Mapping[str, Timing]) -> None:
    """Tells figures as soon as they are there, so that a benchmark that is cut off has said them."""
    told = ", ".join(f"{name} {timing.median:.3g} s" for name, timing in timings.items())
    print(f"  {what}: {told}", file=sys.stderr)


def test_call(model: nn.Module, cfg: Any, args: argparse.Namespace) -> Callable[[], object]:
    """One view through the model, or the part of a long one that stands for it."""
    model.eval()
    frames, _ = views_of_test(cfg)
    timed = min(frames, TIMED_FRAMES) if isinstance(model, FrameByFrameModel) and not args.whole else frames
    view = torch.randn(1, 3, timed, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE, device=args.device)

    def call() -> None:
        with torch.inference_mode():
            if not isinstance(model, FrameByFrameModel):
                model(view)
                return
            # In chunks, as a long video goes through it.
            for part in view.split(TIMED_FRAMES, dim=2):
                features = model.encode_frames(part)
            model.classify(features.new_zeros(1, frames, features.shape[-1]))

    return call


def video_seconds(timing: Timing, model: nn.Module, cfg: Any, args: argparse.Namespace) -> Timing:
    """Seconds of all views of a video from those of what was timed."""
    frames, views = views_of_test(cfg)
    if not isinstance(model, FrameByFrameModel) or args.whole or frames <= TIMED_FRAMES:
        return Timing(tuple(views * seconds for seconds in timing.seconds))
    model.eval()
    features = torch.randn(1, frames, model.feature_dim, device=args.device)  # type: ignore[arg-type]
    with torch.inference_mode():
        encoder = time_interleaved({"": lambda: model.classify(features)})[""].median
    scale = frames / TIMED_FRAMES
    return Timing(tuple(views * ((seconds - encoder) * scale + encoder) for seconds in timing.seconds))


def training_call(model: nn.Module, cfg: Any, device: str) -> Callable[[], object]:
    """Forward, backward and update of one clip."""
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


def time_decoding(cfgs: Mapping[str, Any]) -> dict[str, float]:
    """Seconds to read and crop all views of one video as the test does, by name; the best of two."""
    with tempfile.TemporaryDirectory() as folder:
        video = make_clip(Path(folder), (340, 256), num_frames=300, gop=12)
        Path(folder, "test.csv").write_text(f"{video} 0\n")
        return {name: min(_read_views(cfg, folder) for _ in range(2)) for name, cfg in cfgs.items()}


def _read_views(cfg: Any, folder: str) -> float:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.PATH_TO_DATA_DIR = folder
    dataset = build_dataset(cfg, "test")
    loader = build_loader(cfg, dataset, "test", rank=0, world_size=1, batch_size=1, pin_memory=False)
    begin = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - begin


def row(
    name: str,
    model: nn.Module,
    cfg: Any,
    seconds: Timing | None,
    decode: float | None,
    training: Timing | None,
) -> dict[str, Any]:
    """A line of the table; the model's weights are gone afterwards."""
    published = CANDIDATES[name].published
    frames, views = views_of_test(cfg)
    parameters = count_parameters(model)
    macs = clip_complexity(model, frames, cfg.DATA.TEST_CROP_SIZE).total
    figures: dict[str, Any] = {
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
        figures |= {"s/video": seconds.median, "s decode": decode, "s/video all": seconds.median + decode}
    if training is not None:
        figures |= {"s/step": training.median, "h/epoch": training.median * KINETICS_VIDEOS / 3600}
    return figures


def notes(
    seconds: Mapping[str, Timing], decodes: Mapping[str, float], trainings: Mapping[str, Timing]
) -> list[str]:
    """What the figures say of the paper's claims, and how they are to be read."""
    said = [
        "M: millions of parameters; GMACs: of a view, without and with the products of attention, the total "
        "with them; published: as its authors count (VTN's without)",
        "h/epoch: of 240,000 clips on this machine; s decode: reading and cropping all views by one core",
    ]
    if OURS in seconds and THEIRS in seconds:
        both = [seconds[name].median + decodes[name] for name in (THEIRS, OURS)]
        said.append(
            f"inference: {OURS} is {ratio(seconds[THEIRS], seconds[OURS]):.2f} times as fast as {THEIRS}, "
            f"{both[0] / both[1]:.2f} times with decoding (the paper, on GPUs: 5.1)"
        )
    if OURS in trainings and THEIRS in trainings:
        clip = ratio(trainings[THEIRS], trainings[OURS])
        theirs, ours = (CANDIDATES[name].published.epochs or 1 for name in (THEIRS, OURS))
        said.append(
            f"training: {THEIRS} takes {clip:.2f} times as long a clip as {OURS}; with {theirs} epochs and "
            f"{ours}, as published, {clip * theirs / ours:.1f} times (the paper: 16.1)"
        )
    return said
