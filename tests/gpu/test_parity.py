"""On a GPU the model gives the recorded outputs of the original, within the rounding of each precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from benchmarks.support.flex_attention import attention_inputs, exact_band_attention, flex_band_attention
from slowfast.datasets.loading import copy_stream
from slowfast.datasets.loading.copy_stream import start_upload
from slowfast.distributed.device import upload
from tests.support.golden_cases import CASES, Golden
from vtn.encoder.attention import band_attention

FRAME_CASES = [case for case, entry in CASES.items() if entry["kind"] == "frames"]
FEATURE_CASES = [case for case, entry in CASES.items() if entry["kind"] == "features"]
# Largest absolute difference of logits of about 1. Sums in another order: float32. Factors of a product with
# 10 bits (TF32) or 7 bits (bfloat16) after the point, through five layers.
BOUNDS = {"float32": 1e-4, "TF32": 1e-2, "bfloat16": 8e-2}


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Allows TF32 in matrix products and convolutions, or forbids it."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = precision == "TF32"
    try:
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("case", [FRAME_CASES[0], FRAME_CASES[-1], *FEATURE_CASES])
@torch.no_grad()
def test_golden_cases(
    case: str, precision: str, golden: Golden, device: torch.device, record_property: Callable[..., None]
) -> None:
    model = golden.model(CASES[case]["window"]).to(device)
    model.prepare_inference(torch.bfloat16 if precision == "bfloat16" else None)
    inputs, positions = (x.to(device) for x in golden.inputs(case))
    with products_in(precision):
        logits = model(inputs, positions) if inputs.ndim == 5 else model.classify(inputs, positions)
    difference = (logits.float().cpu() - golden.tensor(f"{case}.logits")).abs().max().item()
    record_property("largest difference", f"{difference:.2g}")
    assert difference < BOUNDS[precision]


@torch.no_grad()
def test_masked_clips_have_the_logits_of_the_cpu(golden: Golden, device: torch.device) -> None:
    model = golden.model([18, 18, 18])
    frames, positions = golden.inputs(FRAME_CASES[-1])
    mask = torch.ones_like(positions, dtype=torch.bool)
    mask[:, positions.shape[1] // 2 :] = False
    expected = model(frames, positions, mask)
    with products_in("float32"):
        found = model.to(device)(*(x.to(device) for x in (frames, positions, mask)))
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)


def test_frames_copied_on_a_stream_of_their_own_arrive_whole(device: torch.device) -> None:
    """Also where the stream of the copies is late, and where a chunk's memory is free before it is used."""
    if device.type != "cuda":
        pytest.skip("makes streams late by a function of CUDA")
    chunks = [torch.full((64, 224, 224, 3), value, dtype=torch.uint8) for value in (1, 2)]
    start_upload(chunks[0], device).result()  # makes the stream
    with torch.cuda.stream(copy_stream._stream_of_thread(device)):
        torch.cuda._sleep(10**8)
    late = start_upload(chunks[0], device).result().sum(dtype=torch.int64)  # waits for the copy
    assert int(late) == chunks[0].numel()

    torch.cuda._sleep(10**8)
    first = (
        start_upload(chunks[0], device).result().sum(dtype=torch.int64)
    )  # its memory is free for the host now
    second = start_upload(chunks[1], device).result().sum(dtype=torch.int64)
    assert (int(first), int(second)) == (chunks[0].numel(), 2 * chunks[1].numel())


def test_gradients_have_the_values_of_the_cpu(golden: Golden, device: torch.device) -> None:
    frames, positions = golden.inputs(FRAME_CASES[-1])
    gradients = []
    for place in (torch.device("cpu"), device):
        model = golden.model([18, 18, 18]).to(place)
        with products_in("float32"):
            model(frames.to(place), positions.to(place)).square().sum().backward()
        gradients.append({name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None})
    for name, expected in gradients[0].items():
        scale = expected.abs().max().clamp(min=1e-6)
        assert (gradients[1][name] - expected).abs().max() < 1e-3 * scale + 1e-6, name


@pytest.mark.usefixtures("compiler")
@torch.no_grad()
def test_a_compiled_model_has_the_same_logits(golden: Golden, device: torch.device) -> None:
    model = golden.model([18, 18, 18]).to(device)
    features = torch.randn(2, 64, model.feature_dim, device=device)
    torch.testing.assert_close(
        torch.compile(model.classify)(features), model.classify(features), atol=1e-3, rtol=0
    )


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("window", [18, 128])
def test_blocked_attention_equals_flex_attention(device: torch.device, window: int) -> None:
    """Both are timed by ``benchmark.py temporal --against flex``, so that the faster one can be chosen."""
    inputs = attention_inputs(1000, torch.float32, str(device), trains=True)
    with products_in("float32"):
        exact = exact_band_attention(*inputs, half_window=window // 2).float()
        expected = torch.autograd.grad(exact.sum(), inputs)
        for attention in (band_attention, flex_band_attention):
            found = attention(*inputs, half_window=window // 2)
            torch.testing.assert_close(found, exact, atol=2e-3, rtol=0)
            torch.testing.assert_close(torch.autograd.grad(found.sum(), inputs), expected, atol=5e-3, rtol=0)


def test_pinned_copies_arrive_complete(device: torch.device) -> None:
    pinned = torch.randint(0, 255, (8, 16, 64, 64, 3), dtype=torch.uint8).pin_memory()
    assert torch.equal(pinned.to(device, non_blocking=True).cpu(), pinned)
    numbers = torch.arange(10.0)
    assert torch.equal(upload(numbers, device).cpu(), numbers)


@torch.no_grad()
def test_attention_is_finite_in_every_dtype(device: torch.device) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        q, k, v = torch.randn(3, 2, 100, 4, 16, device=device, dtype=dtype) * 20
        cls_key, cls_value = torch.randn(2, 2, 4, 16, device=device, dtype=dtype)
        mask = torch.zeros(2, 100, dtype=torch.bool, device=device)
        found = band_attention(q, k, v, cls_key, cls_value, half_window=9, key_mask=mask)
        assert found.isfinite().all(), dtype
        # All frames are masked, so that each attends to [CLS] alone.
        torch.testing.assert_close(found, cls_value.flatten(1)[:, None].expand_as(found))
