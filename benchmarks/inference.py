"""Compares a VTN, from frames to logits, with the same model around Hugging Face's Longformer.

The other model always computes in float32. Both have the same random weights and the same frames, and
alternate in one process.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import (
    BenchmarkReport,
    cpu_has_bfloat16,
    dtype_names,
    ratio,
    synchronizing,
    time_interleaved,
)
from benchmarks.support.longformer import HuggingFaceEncoder
from vtn import VTN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 250])
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "mixed"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Times each combination of dtype and length."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    report = BenchmarkReport(
        f"{args.backbone}, {args.pixels}×{args.pixels}, batch 1; times in ms",
        ["dtype", "frames", "ours", "plain", "× plain", "backbone", "encoder", "encoder fraction",
         "difference"],
        file=args.json,
    )  # fmt: skip
    model = VTN(args.backbone, pretrained=False).to(args.device).eval()
    plain = HuggingFaceEncoder(model.temporal_encoder).eval()
    emulated = args.device == "cpu" and not cpu_has_bfloat16()
    for dtype in dtype_names(args.dtypes, args.device):
        if dtype == "bfloat16" and emulated:
            report.notes.append("bfloat16 is skipped: this processor has no instructions for it")
            continue
        for length in args.frames:
            report.add(**row(model, plain, length, getattr(torch, dtype), args))
    report.notes.append("plain: always float32; difference: largest absolute difference of the logits")
    return report


@torch.no_grad()
def row(
    model: VTN, plain: HuggingFaceEncoder, length: int, dtype: torch.dtype, args: argparse.Namespace
) -> dict[str, Any]:
    """Returns one row: times in ms of one clip with ``length`` frames."""
    frames = torch.randn(1, 3, length, args.pixels, args.pixels, device=args.device)

    def ours() -> Tensor:
        return model(frames)

    def theirs() -> Tensor:
        model.inference_dtype = None
        state = plain(model.encode_frames(frames), model.cls_token)
        model.inference_dtype = prepared
        return model.mlp_head(state)

    prepared = model.prepare_inference(dtype).inference_dtype
    features = model.encode_frames(frames)
    synchronize = synchronizing(args.device)
    times = time_interleaved({"ours": ours, "plain": theirs}, rounds=args.rounds, synchronize=synchronize)
    alone = time_interleaved({"encoder": lambda: model.classify(features)}, synchronize=synchronize)
    encoder = alone["encoder"]
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "frames": length,
        "ours": times["ours"].median * 1e3,
        "plain": times["plain"].median * 1e3,
        "× plain": ratio(times["plain"], times["ours"]),
        "backbone": (times["ours"].median - encoder.median) * 1e3,
        "encoder": encoder.median * 1e3,
        "encoder fraction": encoder.median / times["ours"].median,
        "difference": (ours() - theirs()).abs().max().item(),
    }
