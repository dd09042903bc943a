"""The attentive probe beside VTN: time, memory and multiply-adds against the number of frames and tokens.

T frames, M tokens of a frame, S = T · M tokens of a clip.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import BenchmarkReport, peak_memory, ratio, synchronizing, time_interleaved
from slowfast.models.complexity import measure_complexity
from vtn import VTN, AttentiveProbe, BackboneConfig
from vtn.frame_model import FrameModel

FEATURE_DIM = 768
VTN_NAME, SEQUENCE_NAME, PROBE_NAME = "VTN", "VTN sequence", "probe"


@dataclass(frozen=True)
class ProbeBenchmark:
    """The settings of the comparison.

    Attributes:
        lengths, training_lengths: numbers T of frames of a clip.
        tokens: numbers M of tokens per frame.
        training_batch: clips of a training step; inference has one clip.
        max_tokens: largest S of which the probe is timed, since its time grows with S². In training the limit
            is for the products of the whole batch.
        rounds: largest number of rounds; more tokens have fewer, at least 3.
        device: device of torch.
        cpu_time: whether the CPU time of one thread is measured instead of elapsed time.
    """

    lengths: Sequence[int]
    training_lengths: Sequence[int]
    tokens: Sequence[int]
    training_batch: int
    max_tokens: int
    rounds: int
    device: str = "cpu"
    cpu_time: bool = False

    def run(self) -> BenchmarkReport:
        """Measures inference and training for each number of tokens and frames."""
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
                f"the probe is not timed for more than {self.max_tokens} tokens",
            ],
        )  # fmt: skip
        for tokens in self.tokens:
            models = {name: model.to(self.device) for name, model in build_models(tokens).items()}
            for frames in self.lengths:
                report.add(**self._inference_row(models, tokens, frames))
            for frames in self.training_lengths:
                report.add(**self._training_row(models, tokens, frames))
        return report

    @torch.no_grad()
    def _inference_row(self, models: Mapping[str, FrameModel], tokens: int, frames: int) -> dict[str, Any]:
        features = make_features(1, frames, tokens, self.device)
        macs = {f"{name} GMACs": count_gmacs(model, frames, tokens) for name, model in models.items()}
        calls = {
            name: partial(model.prepare_inference().classify, features)
            for name, model in models.items()
            if name != PROBE_NAME or frames * tokens <= self.max_tokens
        }
        row = {"mode": "inference", "tokens": tokens, "frames": frames, **self._times(calls, frames * tokens)}
        if self.device == "cpu":
            row |= {f"{name} MB": peak_memory(call) / 1e6 for name, call in calls.items()}
        return row | macs

    def _training_row(self, models: Mapping[str, FrameModel], tokens: int, frames: int) -> dict[str, Any]:
        features = make_features(self.training_batch, frames, tokens, self.device)
        products = self.training_batch * (frames * tokens) ** 2
        calls = {
            name: partial(_take_step, model.train(), features)
            for name, model in models.items()
            if name != PROBE_NAME or products <= self.max_tokens**2
        }
        times = self._times(calls, 3 * self.training_batch * frames * tokens)
        return {"mode": f"training, {self.training_batch} clips", "tokens": tokens, "frames": frames, **times}

    def _times(self, calls: Mapping[str, Any], tokens: int) -> dict[str, float]:
        """Returns the medians in ms, and the medians of the ratios of each round."""
        times = time_interleaved(
            calls,
            rounds=min(self.rounds, max(3, 10_000 // tokens)),
            synchronize=synchronizing(self.device),
            clock=time.thread_time if self.cpu_time else time.perf_counter,
        )
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
