"""Models on a GPU mix no devices, whatever they are asked, and give the results of the CPU.

B clips, T frames.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.support.longformer import chunked_reference
from tests.support.clips.backbone import SIZE as CLIP_SIZE
from tests.support.clips.backbone import tiny_clip_model
from tests.support.tiny_models import FEATURE_DIM, SIZE, tiny, tiny_average, tiny_probe
from vtn.encoder import encoder_layer

ALL_PARTS: dict[str, Any] = {
    "input_standardize": True, "input_differences": True, "input_dropout": 0.5, "head_skip": True,
    "head_pooling": "cls+mean+std", "frozen": True,
}  # fmt: skip
TOKENS: dict[str, Any] = {
    "tokens": (2, 2), "backbone_args": {"image_size": 2 * SIZE, "width": 4, "feature_dim": FEATURE_DIM},
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "VTN": tiny,
    "all parts": lambda: tiny(**ALL_PARTS),
    "sines": lambda: tiny(position="sinusoidal"),
    "no positions": lambda: tiny(position="none"),
    "tokens in sequence": lambda: tiny(**TOKENS, fusion="sequence"),
    "tokens attended to": lambda: tiny(**TOKENS, fusion="attend"),
    "tokens side by side": lambda: tiny(**TOKENS, fusion="concat"),
    "recomputed": lambda: tiny(act_checkpoint=True),
    "in chunks": lambda: tiny(chunk_frames=4),
    "clips": tiny_clip_model,
    "average": tiny_average,
    "average of tokens": lambda: tiny_average(**TOKENS, fusion="attend"),
    "probe": tiny_probe,
    "probe of tokens": lambda: tiny_probe(**TOKENS),
}


def clips(model: Any, B: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Returns frames, positions and mask of clips, the last of which is shorter."""
    T = 6 if model.clip_grid is None else model.clip_grid.frames + 2
    size = (model.frame_size or SIZE) if model.clip_grid is None else CLIP_SIZE
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[-1, 4:] = False
    return torch.randn(B, 3, T, size, size, generator=generator), torch.arange(T).repeat(B, 1) * 3, mask


def on_both(gpu: torch.device, model: Any, call: Callable[..., Any], *inputs: Any) -> None:
    """Asserts that a call with a model gives the same on the GPU, to which model and tensors are moved."""
    moved = copy.deepcopy(model).to(gpu)
    expected = call(model, *inputs)
    found = call(moved, *(value.to(gpu) if isinstance(value, Tensor) else value for value in inputs))
    on_host = [value.cpu() if isinstance(value, Tensor) else value for value in found]
    torch.testing.assert_close(on_host, list(expected), atol=1e-4, rtol=1e-4)
    assert all(value.device == gpu for value in found if isinstance(value, Tensor))


def train(model: Any, frames: Tensor, positions: Tensor, mask: Tensor | None) -> list[Tensor]:
    model.train()
    torch.manual_seed(0)
    for module in model.modules():  # random numbers of a GPU are others
        for name in ("dropout", "attention_dropout", "p", "_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    model(frames, positions, mask).square().sum().backward()
    return [weight.grad for weight in model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_training_steps_equal_those_of_the_cpu(gpu: torch.device, name: str, masked: bool) -> None:
    model = MODELS[name]()
    frames, positions, mask = clips(model)
    on_both(gpu, model, train, frames, positions, mask if masked else None)


@torch.no_grad()
def evaluate(model: Any, frames: Tensor, positions: Tensor, mask: Tensor) -> list[Tensor]:
    results = [model(frames), model(frames, positions.int()), model(frames, positions, mask)]
    return [*results, model.prepare_inference()(frames, positions, mask)]


@pytest.mark.parametrize("gpu", ["cuda", "mps"], indirect=True)
@pytest.mark.parametrize("name", MODELS)
def test_evaluation_equals_that_of_the_cpu(gpu: torch.device, name: str) -> None:
    model = MODELS[name]()
    on_both(gpu, model, evaluate, *clips(model))


@torch.no_grad()
def look_inside(model: Any, features: Tensor, positions: Tensor, mask: Tensor) -> list[Any]:
    asked = (features, positions, mask)
    weights = model.token_attention(*asked)
    found = [model.frame_attention(*asked), model.attention_rollout(*asked), model.encode_video(*asked)]
    assert all("measured" not in line for line in model.describe_states(*asked))
    return [*found, *([] if weights is None else [weights])]


@pytest.mark.parametrize("gpu", ["cuda", "mps"], indirect=True)
@pytest.mark.parametrize("name", ["VTN", "all parts", "tokens in sequence", "tokens attended to"])
def test_attention_and_states_equal_those_of_the_cpu(gpu: torch.device, name: str) -> None:
    model = MODELS[name]()
    frames, positions, mask = clips(model)
    with torch.no_grad():
        features = model.encode_frames(frames)
    on_both(gpu, model, look_inside, features, positions, mask)


@pytest.mark.parametrize("name", ["VTN", "all parts", "tokens in sequence"])
def test_long_sequences_are_as_on_the_cpu(
    gpu: torch.device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed in chunks and in place."""
    monkeypatch.setattr(encoder_layer, "CHUNK", 8)
    monkeypatch.setattr("vtn.encoder.temporal_encoder.CHUNK", 8)
    model = MODELS[name]().prepare_inference()
    features = torch.randn(2, 40, *model.feature_shape)
    mask = torch.rand(2, 40) < 0.8

    @torch.no_grad()
    def classify(model: Any, features: Tensor, mask: Tensor) -> list[Tensor]:
        return [model.prepare_inference().classify(features, None, mask)]

    on_both(gpu, model, classify, features, mask)


@torch.no_grad()
def test_the_reference_of_the_benchmark_equals_that_of_the_cpu(gpu: torch.device) -> None:
    encoder, cls = tiny().temporal_encoder, torch.randn(1, 1, 32)
    features = torch.randn(1, 50, encoder.feature_projection.in_features)

    def reference(encoder: Any, features: Tensor, cls: Tensor) -> list[Tensor]:
        return [chunked_reference(encoder, features, cls, chunk=16)]

    on_both(gpu, encoder, reference, features, cls)
