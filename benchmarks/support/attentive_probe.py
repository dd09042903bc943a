"""The attentive probe beside VTN: time, memory and multiply-adds against the number of frames and tokens.

T frames, M tokens of a frame, S = T · M tokens of a clip.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import BenchmarkReport, peak_memory, ratio, time_by_size
from slowfast.models.complexity import measure_complexity
from vtn import VTN, AttentiveProbe, BackboneConfig
from vtn.frame_model import FrameModel

FEATURE_DIM = 768
TRAINING_BATCH = 8
MAX_TOKENS = 16384
"""Largest S of which the probe is timed, since its time grows with S²."""
VTN_NAME, SEQUENCE_NAME, PROBE_NAME = "VTN", "VTN sequence", "probe"


def compare_with_probe(args: argparse.Namespace) -> BenchmarkReport:
    """Measures inference of one clip, and training, for each number of tokens and frames.

    Args:
        args: the options of ``benchmarks.temporal``.
    """
    names = [VTN_NAME, SEQUENCE_NAME, PROBE_NAME]
    report = BenchmarkReport(
        "temporal models on features of width 768: VTN, 3 layers with a window of 18 frames, and the "
        "attentive probe, 4 blocks; times in ms",
        ["mode", "tokens", "frames", *names, *(f"× {name}" for name in names[:2]),
         *(f"{name} GMACs" for name in names), *(f"{name} MB" for name in names)],
        notes=[
            "VTN: the tokens of a frame side by side in one vector (concat); VTN sequence: all tokens in "
            "the sequence, as the probe has them; ×: time of the probe divided by theirs",
            "GMACs: 10⁹ multiply-adds of a forward pass; MB: memory of inference besides model and input",
            f"the probe is not timed for more than {MAX_TOKENS} tokens",
        ],
        file=args.json,
    )  # fmt: skip
    for tokens in args.tokens:
        models = {name: model.to(args.device) for name, model in build_models(tokens).items()}
        for frames in args.lengths:
            report.add(**_inference_row(models, tokens, frames, args))
        for frames in args.training:
            report.add(**_training_row(models, tokens, frames, args))
    return report


@torch.no_grad()
def _inference_row(
    models: Mapping[str, FrameModel], tokens: int, frames: int, args: argparse.Namespace
) -> dict[str, Any]:
    features = make_features(1, frames, tokens, args.device)
    macs = {f"{name} GMACs": count_gmacs(model, frames, tokens) for name, model in models.items()}
    calls = {
        name: partial(model.prepare_inference().classify, features)
        for name, model in models.items()
        if name != PROBE_NAME or frames * tokens <= MAX_TOKENS
    }
    row = {"mode": "inference", "tokens": tokens, "frames": frames, **_times(calls, frames * tokens, args)}
    if args.device == "cpu":
        row |= {f"{name} MB": peak_memory(call) / 1e6 for name, call in calls.items()}
    return row | macs


def _training_row(
    models: Mapping[str, FrameModel], tokens: int, frames: int, args: argparse.Namespace
) -> dict[str, Any]:
    features = make_features(TRAINING_BATCH, frames, tokens, args.device)
    products = TRAINING_BATCH * (frames * tokens) ** 2  # of the whole batch
    calls = {
        name: partial(_take_step, model.train(), features)
        for name, model in models.items()
        if name != PROBE_NAME or products <= MAX_TOKENS**2
    }
    times = _times(calls, 3 * TRAINING_BATCH * frames * tokens, args)
    return {"mode": f"training, {TRAINING_BATCH} clips", "tokens": tokens, "frames": frames, **times}


def _times(calls: Mapping[str, Any], tokens: int, args: argparse.Namespace) -> dict[str, float]:
    """Returns the medians in ms, and the medians of the ratios of each round."""
    times = time_by_size(calls, tokens, args)
    row = {name: timing.median * 1e3 for name, timing in times.items()}
    if PROBE_NAME in times:
        others = (name for name in times if name != PROBE_NAME)
        row |= {f"× {name}": ratio(times[PROBE_NAME], times[name]) for name in others}
    return row


def build_models(tokens: int) -> dict[str, FrameModel]:
    """Returns name -> model with the default sizes, for features of ``tokens`` tokens per frame."""
    backbone = BackboneConfig("precomputed", tokens=(1, tokens), args={"feature_dim": FEATURE_DIM})
    models: dict[str, FrameModel] = {VTN_NAME: VTN(backbone)}
    if tokens > 1:
        models[SEQUENCE_NAME] = VTN(backbone, fusion="sequence")
    return {**models, PROBE_NAME: AttentiveProbe(backbone)}


def make_features(clips: int, frames: int, tokens: int, device: str) -> Tensor:
    """Returns random features (B, T, F), or (B, T, M, F) for several tokens."""
    shape = (frames, FEATURE_DIM) if tokens == 1 else (frames, tokens, FEATURE_DIM)
    return torch.randn(clips, *shape, device=device)


def count_gmacs(model: FrameModel, frames: int, tokens: int) -> float:
    """Returns 10⁹ multiply-adds of one clip, counted with a twin of the model that has no memory."""
    with torch.device("meta"):
        twin: Any = type(model)(**model.arguments.as_keywords())
        features = make_features(1, frames, tokens, "meta")
    return measure_complexity(_Classifier(twin), features).total.total / 1e9


class _Classifier(nn.Module):
    """A model as the function of features that is measured."""

    def __init__(self, model: FrameModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        return self.model.classify(features)


def _take_step(model: FrameModel, features: Tensor) -> None:
    """Computes a forward and a backward pass."""
    model.zero_grad(set_to_none=True)
    model.classify(features).sum().backward()
