"""Torch's flex attention beside the blocked attention of the temporal encoder: time and error.

Flex attention takes Longformer's mask as a function and leaves out the blocks of 128 × 128 scores in which
all are masked. The blocked attention computes all scores of blocks of 32 queries (or as many as half a
window) and their neighbours.

T frames, N heads, E width of a head.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import BenchmarkReport, ratio, synchronizing, time_interleaved
from slowfast.distributed.device import is_cpu
from vtn.encoder.attention import band_attention

HEADS, HEAD_WIDTH = 12, 64
LARGEST_EXACT = 4096
"""Number of frames up to which the error is measured, against a T×T product in float64."""
LARGEST_MASK = 16384
"""Largest number of frames: the mask of flex attention uses T×T values."""
BLOCKED, FLEX = "blocked", "flex"


def compare_with_flex(args: argparse.Namespace) -> BenchmarkReport:
    """Measures one layer's attention between frames for each window, dtype and length.

    Training is left out on a CPU, where flex attention has no gradients.

    Args:
        args: the options of ``benchmarks.temporal``.
    """
    report = BenchmarkReport(
        f"Attention between frames, {HEADS} heads of width {HEAD_WIDTH}, one clip; times in ms",
        ["mode", "dtype", "window", "frames", BLOCKED, FLEX, "× flex", "error blocked", "error flex"],
        notes=[
            "× flex: time of flex attention divided by that of the blocked attention.",
            f"error: largest difference from float64, up to {LARGEST_EXACT} frames.",
            "Flex attention is compiled once per shape, which is not timed.",
        ],
        file=args.json,
    )
    modes = {"inference": [length for length in args.lengths if length <= LARGEST_MASK]}
    if is_cpu(torch.device(args.device)):
        report.notes.append("No training: flex attention has no gradients on a CPU.")
    else:
        modes["training"] = args.training
    for mode, lengths in modes.items():
        for dtype, window, length in itertools.product(args.dtypes, args.windows, lengths):
            inputs = attention_inputs(length, getattr(torch, dtype), args.device, trains=mode == "training")
            row = _row(inputs, window // 2, args)
            report.add(mode=mode, dtype=dtype, window=window, frames=length, **row)
    return report


def _row(inputs: Sequence[Tensor], half_window: int, args: argparse.Namespace) -> dict[str, float]:
    """Returns times and errors; inputs that require gradients are timed in a training step."""
    length, trains = inputs[0].shape[1], inputs[0].requires_grad
    torch.compiler.reset()  # Torch compiles a function for eight shapes only, and then no more.
    calls = {
        BLOCKED: lambda: band_attention(*inputs, half_window=half_window),
        FLEX: lambda: flex_band_attention(*inputs, half_window=half_window),
    }
    errors: dict[str, float] = {}
    if length <= LARGEST_EXACT:
        with torch.no_grad():
            exact = exact_band_attention(*inputs, half_window=half_window)
            errors = {f"error {name}": float((call() - exact).abs().max()) for name, call in calls.items()}
    timed = {name: _with_gradients(call, inputs) if trains else call for name, call in calls.items()}
    with torch.set_grad_enabled(trains):
        times = time_interleaved(timed, rounds=args.rounds, synchronize=synchronizing(args.device))
    return {
        **{name: timing.median * 1e3 for name, timing in times.items()},
        "× flex": ratio(times[FLEX], times[BLOCKED]),
        **errors,
    }


def attention_inputs(
    length: int, dtype: torch.dtype, device: str = "cpu", *, trains: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns query, key, value (1, T, N, E), and key and value of [CLS] (1, N, E)."""
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype).requires_grad_(trains)

    of_frames, of_cls = (1, length, HEADS, HEAD_WIDTH), (1, HEADS, HEAD_WIDTH)
    return values(*of_frames), values(*of_frames), values(*of_frames), values(*of_cls), values(*of_cls)


def flex_band_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cls_key: Tensor,
    cls_value: Tensor,
    *,
    half_window: int,
    attend: Callable[..., Any] | None = None,
) -> Tensor:
    """Computes ``vtn.encoder.attention.band_attention`` without masked frames by flex attention.

    Args:
        query, key, value: (B, T, N, E) of the same frames.
        cls_key, cls_value: (B, N, E).
        half_window: number of frames that a frame attends to on each side.
        attend: ``flex_attention`` as it is, or compiled (the default).
    """
    length = query.shape[1]
    keys, values = _with_cls(cls_key, key).transpose(1, 2), _with_cls(cls_value, value).transpose(1, 2)
    attend = attend or _compiled_flex_attention()
    context = attend(
        query.transpose(1, 2), keys, values, block_mask=_block_mask(length, half_window, str(query.device))
    )
    return context.transpose(1, 2).flatten(2)


def exact_band_attention(
    query: Tensor, key: Tensor, value: Tensor, cls_key: Tensor, cls_value: Tensor, *, half_window: int
) -> Tensor:
    """Returns the same in float64, by a product of T × (1 + T) scores; arguments as above."""
    keys, values = _with_cls(cls_key, key).double(), _with_cls(cls_value, value).double()
    frames = torch.arange(query.shape[1], device=query.device)
    near = (frames[:, None] - frames).abs() <= half_window
    allowed = torch.cat([near.new_ones(len(frames), 1), near], dim=1)
    scores = torch.einsum("bine,bjne->bnij", query.double(), keys) / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
    return torch.einsum("bnij,bjne->bine", weights, values).flatten(2)


def _with_cls(of_cls: Tensor, of_frames: Tensor) -> Tensor:
    """Puts [CLS] before the frames: (B, N, E), (B, T, N, E) -> (B, 1 + T, N, E)."""
    return torch.cat([of_cls[:, None], of_frames], dim=1)


@cache
def _compiled_flex_attention() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    # fullgraph: without a kernel, torch would compute all scores instead, and only warn.
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


@cache
def _block_mask(length: int, half_window: int, device: str) -> Any:
    """Returns the mask of T queries: [CLS] is key 0, key 1 + t is frame t."""
    from torch.nn.attention.flex_attention import create_block_mask

    def allowed(clip: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key == 0) | ((query + 1 - key).abs() <= half_window)

    return create_block_mask(allowed, None, None, length, 1 + length, device=device)


def _with_gradients(call: Callable[[], Tensor], inputs: Sequence[Tensor]) -> Callable[[], None]:
    def step() -> None:
        for tensor in inputs:
            tensor.grad = None
        call().sum().backward()

    return step
