"""Compares training steps: each switch alone and all together, against the original's way.

A step is forward, backward and the update of the weights, by the engine's own `TrainStep`, on a batch that
is in memory already. All ways of a case have the same weights, batch and optimiser, and alternate in one
process; short steps are timed twenty in a row.

- float32: the default.
- bfloat16: `TRAIN.PRECISION bfloat16`.
- compiled: `TRAIN.COMPILE True`. both: compiled, in bfloat16.
- original: what the original does: Hugging Face's Longformer, timm's backbone as it comes, float32, eager,
  an optimiser of single operations, and malloc as it comes.

cases:
  cached      the encoder of VIT_B_VTN (3 layers, width 768) and its head from features of frames
  quickstart  the encoder of the quickstart (2 layers, width 128) from features: small operations
  vit-b       VIT_B_VTN from frames of 224 pixels, all weights trained
  frozen      VIT_B_VTN_FROZEN from frames: the backbone computes features only

examples:
  slowfast benchmark train
  slowfast benchmark train --cases cached --frames 16 250 --ways float32 bfloat16 original
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from benchmarks.measure import (
    BenchmarkReport,
    keeping,
    ratio,
    synchronizing,
    time_interleaved,
    trimming,
)
from benchmarks.support.longformer import HuggingFaceEncoder
from slowfast.config import load_config
from slowfast.datasets.clip import Batch, ClipBatch, Normalization
from slowfast.datasets.video_dataset import FeatureOrigin
from slowfast.distributed.device import choose_device
from slowfast.distributed.world import World
from slowfast.engine.training.compiled_network import CompiledNetwork
from slowfast.engine.training.train_step import TrainStep
from slowfast.features.batch import FeatureBatch
from slowfast.models.build import build_model
from slowfast.models.feature_head import FeatureHead
from slowfast.models.losses import LOSS_REGISTRY
from slowfast.models.precision import choose_precision
from slowfast.solver import build_optimizer

WAYS: Mapping[str, tuple[str, bool]] = {
    "float32": ("float32", False),
    "bfloat16": ("bfloat16", False),
    "compiled": ("float32", True),
    "both": ("bfloat16", True),
}
"""Way -> ``TRAIN.PRECISION`` and ``TRAIN.COMPILE``."""

ORIGINAL = "original"


@dataclass(frozen=True)
class Case:
    """A model and the batch that it is trained on.

    Attributes:
        recipe: name of the configuration.
        clips: clips per step.
        from_features: whether the batch consists of features.
        changes: of the recipe, ``KEY, value``.
        steps: steps in a row that are timed together. The first one after another way finds none of its
            weights in the caches of the processor, which is a large part of a short step.
    """

    recipe: str
    clips: int
    from_features: bool = False
    changes: tuple[str, ...] = ()
    steps: int = 1


# A backbone that computes nothing here is built faster than ViT-B; it has the same width.
_WIDTH_768 = ("VTN.BACKBONE.NAME", "shallow_conv", "VTN.BACKBONE.ARGS", "{'feature_dim': 768}")
# Longformer has learned positions only.
_LEARNED = ("VTN.LONGFORMER.POSITION", "learned", "VTN.LONGFORMER.POSITION_UNIT", "frame")

CASES: Mapping[str, Case] = {
    "cached": Case("VIT_B_VTN_FROZEN", 8, from_features=True, changes=_WIDTH_768),
    "quickstart": Case("QUICKSTART", 16, from_features=True, changes=_LEARNED, steps=20),
    "vit-b": Case("VIT_B_VTN", 1),
    "frozen": Case("VIT_B_VTN_FROZEN", 2),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    ways = [*WAYS, ORIGINAL]
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--ways", nargs="+", default=ways, choices=ways, metavar="WAY")
    parser.add_argument("--frames", type=int, nargs="+", default=[16], metavar="N", help="frames per clip")
    parser.add_argument("--clips", type=int, metavar="N", help="clips per step (default: that of the case)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    parser.add_argument("--device", default=choose_device(1).type)
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="changes of the recipe")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Times the chosen ways of each case."""
    torch.set_num_threads(args.threads)
    columns = ["case", "clips", "frames", *args.ways]
    if ORIGINAL in args.ways:
        columns += [f"{way} × {ORIGINAL}" for way in args.ways if way != ORIGINAL]
    report = BenchmarkReport("Training steps, milliseconds per step", [*columns, "loss"], file=args.json)
    report.notes = [
        f"× {ORIGINAL}: its time divided by that of the way, the median over the rounds.",
        "loss: of the first step, in float32, and its distance in bfloat16 where that is measured.",
    ]
    for name in args.cases:
        for frames in args.frames:
            report.add(case=name, frames=frames, **_row(CASES[name], frames, args))
    return report


def _row(case: Case, frames: int, args: argparse.Namespace) -> dict[str, Any]:
    """Returns one row of the table."""
    clips = args.clips or case.clips
    cfg = load_config(case.recipe, ["VTN.BACKBONE.PRETRAINED", "False", *case.changes, *args.opts])
    torch.manual_seed(0)
    model: Any = without_dropout(build_model(cfg, fetch_weights=False).to(args.device).train())
    batch = make_batch(case, model, clips, frames)
    steps = {way: build_step(cfg, case, copy.deepcopy(model), way, args.device) for way in args.ways}
    losses = {way: step(batch, 1e-4).loss for way, step in steps.items()}
    calls: dict[str, Callable[[], object]] = {
        way: (trimming if way == ORIGINAL else keeping)(partial(_take_steps, step, batch, case.steps))
        for way, step in steps.items()
    }
    times = time_interleaved(calls, rounds=args.rounds, synchronize=synchronizing(args.device))
    row: dict[str, Any] = {way: timing.median * 1e3 / case.steps for way, timing in times.items()}
    if ORIGINAL in times:
        row |= {f"{way} × {ORIGINAL}": ratio(times[ORIGINAL], times[way]) for way in WAYS if way in times}
    exact = losses.get("float32", next(iter(losses.values())))
    difference = f", {losses['bfloat16'] - exact:+.4f}" if "bfloat16" in losses else ""
    return {"clips": clips, **row, "loss": f"{exact:.4f}{difference}", "losses": losses}


def _take_steps(step: TrainStep, batch: Batch, number: int) -> None:
    for _ in range(number):
        step(batch, 1e-4)


def build_step(cfg: CfgNode, case: Case, model: Any, way: str, device: str) -> TrainStep:
    """Returns the step of a way, which trains the model."""
    network: nn.Module = (
        FeatureHead(model, FeatureOrigin(""), Normalization((), ())) if case.from_features else model
    )
    precision, compiled = WAYS.get(way, ("float32", False))
    if way == ORIGINAL:
        network = model = without_dropout(OriginalWay(model, from_features=case.from_features).to(device))
    elif compiled:
        network = CompiledNetwork(network)
    optimizer = build_optimizer(cfg, model)
    if way == ORIGINAL:
        for group in optimizer.param_groups:
            group["fused"] = None  # as torch chooses
    return TrainStep(
        model,
        optimizer,
        loss=LOSS_REGISTRY.get(cfg.MODEL.LOSS_FUNC),
        world=World(device=torch.device(device)),
        precision=choose_precision(precision, torch.device(device)),
        normalization=Normalization((0.5,) * 3, (0.5,) * 3),
        network=network,
    )


def without_dropout(model: nn.Module) -> nn.Module:
    """Returns the model in training mode without dropout, so that all ways compute the same loss."""
    for module in model.train().modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


class OriginalWay(nn.Module):
    """The original's way of a training step: every frame through timm's model, then ``LongformerModel``.

    Args:
        model: a VTN, whose backbone, head and [CLS] are used, and whose encoder's weights are copied.
        from_features: whether ``forward`` gets features.
    """

    def __init__(self, model: Any, *, from_features: bool) -> None:
        super().__init__()
        self.feature_dim, self.num_tokens = model.feature_dim, model.num_tokens
        self.backbone = None if from_features else model.backbone
        self.cls_token = model.cls_token
        self.encoder = HuggingFaceEncoder(model.temporal_encoder)
        for name, weight in self.encoder.named_parameters():
            if "word_embeddings" in name:  # it has no influence on the output
                weight.requires_grad_(False)
        self.mlp_head = model.mlp_head

    def forward(self, inputs: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        if self.backbone is None:
            features = inputs
        else:
            frames = inputs.transpose(1, 2)  # (B, 3, T, H, W) -> (B, T, 3, H, W)
            features = self.backbone(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.mlp_head(self.encoder(features, self.cls_token))


def make_batch(case: Case, model: Any, clips: int, frames: int) -> Batch:
    """Returns random clips of frames or features, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(clips)
    positions = torch.arange(frames).repeat(clips, 1)
    common = {
        "positions": positions,
        "mask": None,
        "label": numbers % 4,
        "video_id": numbers,
        "view_id": numbers,
    }
    if case.from_features:
        features = torch.randn(clips, frames, model.feature_dim, generator=generator)
        return FeatureBatch(features=features, **common)
    shape = (clips, frames, 224, 224, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return ClipBatch(frames=pixels.permute(0, 4, 1, 2, 3), **common)
