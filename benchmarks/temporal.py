"""Compares the temporal encoder with Hugging Face's Longformer, full attention, and only its matrix products.

With ``--against probe`` VTN is compared with the attentive probe, whose cost is quadratic in the tokens; with
``--against flex`` the attention between frames with torch's flex attention, by which it could be computed.

The candidates have the same weights and inputs and alternate in one process; outputs and gradients are
compared in the same run. Memory is the memory of inference besides the loaded and packed model, the input and
one hidden sequence.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import (
    BenchmarkReport,
    Timing,
    cpu_has_bfloat16,
    dtype_names,
    peak_memory,
    ratio,
    time_by_size,
)
from benchmarks.support.attentive_probe import TRAINING_BATCH, compare_with_probe
from benchmarks.support.flex_attention import compare_with_flex
from benchmarks.support.longformer import HuggingFaceEncoder, chunked_reference
from benchmarks.support.matrix_products import inference_products, training_products
from vtn.arguments.groups import EncoderConfig
from vtn.encoder.temporal_encoder import TemporalEncoder

WIDTH, HEADS, LAYERS, INTERMEDIATE, WINDOW = 768, 12, 3, 3072, 18
QUADRATIC_LIMIT = 16384
"""Maximum number of frames for Hugging Face and full attention, which use T×T values."""
EMULATED_LIMIT = 250
"""Maximum number of frames for bfloat16 on a processor without bfloat16 instructions, which emulates it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument(
        "--against",
        choices=["longformer", "probe", "flex"],
        default="longformer",
        help="what is compared with: other encoders with the same weights, the attentive probe, or flex "
        "attention",
    )
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[1, 9], help="tokens per frame, with --against probe"
    )
    parser.add_argument(
        "--windows", type=int, nargs="+", default=[18, 128, 512], help="frames, with --against flex"
    )
    lengths = [16, 64, 250, 1024, 4096, 16384, 65536]
    parser.add_argument("--lengths", type=int, nargs="*", default=lengths, help="frames, for inference")
    parser.add_argument(
        "--training", type=int, nargs="*", default=[16, 250, 1024], help="frames, for training"
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        default=["float32", "mixed"],
        help="with --against longformer or flex; mixed: bfloat16, or float16 where the device lacks it",
    )
    parser.add_argument(
        "--rounds", type=int, default=9, help="maximum number of rounds; long inputs have fewer, at least 3"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="measure the CPU time of one thread, for busy computers",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plot", metavar="FILE", help="draw time against length, with --against longformer")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Runs the comparison that the options choose."""
    torch.set_num_threads(1 if args.cpu_time else args.threads)
    args.dtypes = dtype_names(args.dtypes, args.device)
    if args.against == "probe":
        return compare_with_probe(args)
    if args.against == "flex":
        return compare_with_flex(args)
    return compare_encoders(args)


def compare_encoders(args: argparse.Namespace) -> BenchmarkReport:
    """Measures encoders of the same weights: inference for each dtype and length, then training."""
    report = BenchmarkReport(
        f"temporal encoder: {LAYERS} layers, width {WIDTH}, {HEADS} heads, window {WINDOW}; times in ms",
        ["mode", "dtype", "frames", "ours", "products", "Hugging Face", "full attention", "of the limit",
         "× Hugging Face", "× full", "error", "memory MB", "Hugging Face MB"],
        file=args.json,
    )  # fmt: skip
    torch.manual_seed(0)
    config = EncoderConfig(WIDTH, LAYERS, HEADS, INTERMEDIATE, WINDOW)
    encoder = TemporalEncoder(WIDTH, config).to(args.device)
    for dtype in args.dtypes:
        emulated = dtype == "bfloat16" and args.device == "cpu" and not cpu_has_bfloat16()
        for length in args.lengths:
            if not emulated or length <= EMULATED_LIMIT:
                report.add(**inference_row(encoder, length, getattr(torch, dtype), args))
    for length in args.training:
        for dropout in (0.0, 0.1):
            report.add(**training_row(encoder, length, dropout, args))
    report.notes += notes(encoder, args.device)
    if args.plot:
        plot(report, args.plot)
    return report


@torch.no_grad()
def inference_row(
    encoder: TemporalEncoder, length: int, dtype: torch.dtype, args: argparse.Namespace
) -> dict[str, Any]:
    """Returns one row for a batch of 1; our model is packed for ``dtype``, the other models are float32."""
    features = torch.randn(1, length, WIDTH, device=args.device)
    cls = torch.randn(1, 1, WIDTH, device=args.device)
    encoder.eval().pack(dtype)
    candidates: dict[str, Callable[[], Any]] = {
        "ours": lambda: encoder(features, cls, None, None),
        "products": inference_products(encoder, length, dtype, args.device),
    }
    quadratic = length <= QUADRATIC_LIMIT
    if quadratic:
        theirs = HuggingFaceEncoder(encoder).eval()
        full = full_attention().to(args.device).eval()
        candidates["Hugging Face"] = lambda: theirs(features, cls)
        candidates["full attention"] = lambda: full(features)
    times = time_by_size(candidates, length, args)
    expected = candidates["Hugging Face"]() if quadratic else chunked_reference(encoder, features, cls)
    row = compare(times) | {
        "mode": "inference",
        "dtype": str(dtype).removeprefix("torch."),
        "frames": length,
        "error": (candidates["ours"]() - expected).abs().max().item(),
    }
    sequence = (1 + length) * WIDTH * 4
    row["memory MB"] = (peak_memory(candidates["ours"], args.device) - sequence) / 1e6
    if quadratic:
        row["Hugging Face MB"] = peak_memory(candidates["Hugging Face"], args.device) / 1e6
    return row


def training_row(
    encoder: TemporalEncoder, length: int, dropout: float, args: argparse.Namespace
) -> dict[str, Any]:
    """Returns one row for a forward and a backward pass of a batch; at dropout 0 also compares gradients."""
    features = torch.randn(TRAINING_BATCH, length, WIDTH, device=args.device, requires_grad=True)
    cls = torch.randn(1, 1, WIDTH, device=args.device)
    direction = torch.randn(WIDTH, device=args.device)
    encoder.train()
    theirs = HuggingFaceEncoder(encoder).train()
    for module in encoder.modules():
        if hasattr(module, "attention_dropout"):
            module.dropout = module.attention_dropout = dropout
    for model in (encoder, theirs):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
    theirs.set_attention_dropout(dropout)

    def step(model: Callable[..., Tensor], *more: None) -> None:
        features.grad = None
        for parameter in [*encoder.parameters(), *theirs.parameters()]:
            parameter.grad = None
        (model(features, cls, *more) * direction).sum().backward()

    candidates = {
        "ours": lambda: step(encoder, None, None),
        "products": training_products(encoder, TRAINING_BATCH * length, args.device),
        "Hugging Face": lambda: step(theirs),
    }
    times = time_by_size(candidates, 3 * TRAINING_BATCH * length, args)
    row = compare(times) | {"mode": f"training, dropout {dropout}", "dtype": "float32", "frames": length}
    if dropout == 0:
        step(encoder, None, None)
        ours = {name: parameter.grad for name, parameter in encoder.named_parameters()} | {
            "input": features.grad
        }
        step(theirs)
        row["error"] = max(
            ((ours[name] - gradient).abs().max() / gradient.abs().max().clamp(min=1e-3)).item()
            for name, gradient in [*theirs.gradients(), ("input", features.grad)]
        )
    return row


def compare(times: dict[str, Timing]) -> dict[str, Any]:
    """Returns the medians in ms, and the medians of the ratios of each round."""
    row: dict[str, Any] = {name: timing.median * 1e3 for name, timing in times.items()}
    row["of the limit"] = ratio(times["ours"], times["products"])
    for column, name in (("× Hugging Face", "Hugging Face"), ("× full", "full attention")):
        if name in times:
            row[column] = ratio(times[name], times["ours"])
    return row


def full_attention() -> nn.Module:
    """Returns torch's encoder of the same size; its attention is ``scaled_dot_product_attention``."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INTERMEDIATE, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)


def notes(encoder: TemporalEncoder, device: str) -> list[str]:
    """Returns the memory of the packed weights, and explanations of the columns."""
    lines = [
        "memory MB: besides model, packed weights, input and one hidden sequence",
        "error: largest absolute difference",
    ]
    if device == "cpu":
        encoder.eval().train()
        weights = sum(parameter.numel() for parameter in encoder.parameters()) * 4 / 1e6
        with torch.no_grad():
            cost = peak_memory(lambda: encoder.pack(torch.float32)) / 1e6
        lines.append(
            f"packed float32 weights: {cost:.0f} MB while packing, besides {weights:.0f} MB of parameters"
        )
        if not cpu_has_bfloat16():
            lines.append(
                "this processor has no bfloat16 instructions: torch emulates them, so bfloat16 is slow here"
            )
    return lines


def plot(report: BenchmarkReport, path: str) -> None:
    """Writes a PNG of time against length, both logarithmic."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row["mode"] == "inference" and row["dtype"] == "float32"]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, style in (("Hugging Face", "s-"), ("full attention", "^-"), ("ours", "o-"), ("products", ":")):
        points = [(row["frames"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="frames", ylabel="ms", title="inference, float32, batch 1")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
