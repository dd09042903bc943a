"""The baselines of the temporal benchmark, flex attention among them, give the results of the encoder."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch._dynamo
from torch.nn.attention.flex_attention import flex_attention

from benchmarks import temporal
from benchmarks.gpu.measurements import PLANS
from benchmarks.support.flex_attention import attention_inputs, exact_band_attention, flex_band_attention
from benchmarks.support.longformer import HuggingFaceEncoder, chunked_reference
from tests.support.code.command_line import parse
from tests.support.processes import run_forked
from vtn.arguments.groups import EncoderConfig
from vtn.encoder.attention import band_attention
from vtn.encoder.temporal_encoder import TemporalEncoder


@torch.no_grad()
def test_hugging_face_and_the_chunked_reference_equal_the_encoder() -> None:
    torch.manual_seed(0)
    config = EncoderConfig(24, 3, 3, 40, [4, 18, 4], max_position_embeddings=50)
    encoder = TemporalEncoder(24, config)
    for parameter in encoder.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    encoder.eval()
    features, cls = torch.randn(1, 143, 24), torch.randn(1, 1, 24)
    expected = encoder(features, cls, None, None)
    chunked = chunked_reference(encoder, features, cls, chunk=32)
    assert chunked.dtype == torch.float64
    torch.testing.assert_close(expected.double(), chunked, atol=1e-5, rtol=0)
    encoder.layers[1].half_window = 2  # Hugging Face requires windows that divide the largest one
    theirs = HuggingFaceEncoder(encoder).eval()(features, cls)
    torch.testing.assert_close(encoder(features, cls, None, None), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 18, 129, 300])
@pytest.mark.parametrize("half_window", [1, 9, 64])
@torch.no_grad()
def test_blocked_and_flex_attention_equal_the_exact_one(length: int, half_window: int) -> None:
    inputs = attention_inputs(length, torch.float32)
    exact = exact_band_attention(*inputs, half_window=half_window).float()
    flex = flex_band_attention(*inputs, half_window=half_window, attend=flex_attention)
    torch.testing.assert_close(flex, exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(band_attention(*inputs, half_window=half_window), exact, atol=1e-5, rtol=0)


def test_the_comparison_with_flex_attention_has_times_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "benchmarks.support.flex_attention._compiled_flex_attention", lambda: flex_attention
    )  # compiling takes a minute
    options = "--against flex --windows 18 --lengths 40 --training 40 --dtypes float32 bfloat16 --rounds 1"
    rows = temporal.run(parse(temporal, *options.split())).rows
    assert [(row["mode"], row["dtype"]) for row in rows] == [
        ("inference", "float32"),
        ("inference", "bfloat16"),
    ]
    for row, bound in zip(rows, (1e-5, 2e-2), strict=True):
        assert row["blocked"] > 0 < row["flex"]
        assert max(row["error blocked"], row["error flex"]) < bound


def test_flex_attention_is_measured_in_float16_where_the_device_lacks_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.support.flex_attention._compiled_flex_attention", lambda: flex_attention)
    monkeypatch.setattr("slowfast.models.precision.supports_bfloat16", lambda device: False)
    plan = next(plan for plan in PLANS if plan.name == "flex attention")
    options = [*plan.on_gpu.split(), "--windows", "18", "--lengths", "40", "--training", "--rounds", "1"]
    assert [row["dtype"] for row in temporal.run(parse(temporal, *options)).rows] == ["float16"]


def test_flex_attention_is_compiled_for_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch leaves a function uncompiled that it has compiled for too many shapes."""

    def compare() -> None:
        compiled: list[Any] = []

        def count(graph: Any, inputs: Any) -> Any:
            compiled.append(graph)
            return graph.forward

        make = partial(torch.compile, backend=count)
        monkeypatch.setattr(torch, "compile", make)
        options = "--against flex --windows 4 8 --lengths 10 20 30 --training --dtypes float32 --rounds 1"
        with torch._dynamo.config.patch(recompile_limit=2):
            temporal.run(parse(temporal, *options.split()))
        assert len(compiled) == 6

    assert run_forked(compare) == 0  # a process that has compiled cannot be forked any more
