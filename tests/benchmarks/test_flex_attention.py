"""Flex attention with Longformer's mask, the blocked attention, and the exact result."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from benchmarks.support.flex_attention import (
    FlexBenchmark,
    attention_inputs,
    exact_band_attention,
    flex_band_attention,
)
from vtn.encoder.attention import band_attention


@pytest.mark.parametrize("length", [1, 18, 129, 300])
@pytest.mark.parametrize("half_window", [1, 9, 64])
@torch.no_grad()
def test_both_equal_the_exact_attention(length: int, half_window: int) -> None:
    inputs = attention_inputs(length, torch.float32)
    exact = exact_band_attention(*inputs, half_window=half_window).float()
    flex = flex_band_attention(*inputs, half_window=half_window, attend=flex_attention)
    torch.testing.assert_close(flex, exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(band_attention(*inputs, half_window=half_window), exact, atol=1e-5, rtol=0)


def test_the_benchmark_has_times_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "benchmarks.support.flex_attention._compiled_flex_attention", lambda: flex_attention
    )  # compiling takes a minute
    benchmark = FlexBenchmark(
        windows=[18], lengths=[40], training_lengths=[40], dtypes=["float32", "bfloat16"], rounds=1
    )
    rows = benchmark.run().rows
    assert [(row["mode"], row["dtype"]) for row in rows] == [
        ("inference", "float32"),
        ("inference", "bfloat16"),
    ]
    for row, bound in zip(rows, (1e-5, 2e-2), strict=True):
        assert row["blocked"] > 0 < row["flex"]
        assert max(row["error blocked"], row["error flex"]) < bound
