"""The choice of precision and compilation for features without gradients."""

from __future__ import annotations

import logging
import pickle

import pytest
import torch
from torch import Tensor, nn

from slowfast.errors import ConfigError, ModelError
from slowfast.models.capabilities import EncodingSetup
from slowfast.models.inference import encoding
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding
from slowfast.models.inference.processor import images_per_pass
from tests.support.clips.backbone import SIZE as CLIP_SIZE
from tests.support.clips.backbone import tiny_clip_model
from tests.support.configs import make_config
from tests.support.tiny_models import TINY, with_large_weights
from vtn import VTN
from vtn.backbones.base import BACKBONE_REGISTRY

CPU = torch.device("cpu")


@BACKBONE_REGISTRY.register("test_large_values")
class LargeValues(nn.Module):
    """A backbone whose features are small differences of large numbers, which 16 bits cannot hold."""

    feature_dim = 24

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(3, 24)

    def forward(self, images: Tensor) -> Tensor:
        colours = images.mean((2, 3))
        return self.project(colours + 1000.0) - self.project(torch.full_like(colours, 1000.0))


def model_of(name: str) -> VTN:
    arguments = {**TINY, "backbone_args": {"img_size": 32} if name == "test_vit" else {}}
    return with_large_weights(VTN(name, pretrained=False, **arguments))


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acts as if the processor had the instructions; others emulate them with the same results."""
    monkeypatch.setattr(encoding, "has_bfloat16", lambda device: True)


@pytest.fixture
def model() -> VTN:
    return model_of("test_vit")


@torch.no_grad()
def test_features_of_16_bits_are_used_within_the_bound(model: VTN, caplog: pytest.LogCaptureFixture) -> None:
    frames = torch.randn(1, 3, 5, 32, 32)
    exact = model.encode_frames(frames)
    with caplog.at_level(logging.INFO):
        setup = choose_encoding(model, EncodingRequest(), (32, 32), CPU)
    assert setup == EncodingSetup("bfloat16", fold=True)
    assert "encoding: bfloat16, features differ from float32 by 0." in caplog.text
    features = model.encode_frames(frames)
    assert features.dtype == torch.float32
    assert 0 < (features - exact).norm() / exact.norm() < encoding.MAX_ERROR
    assert model.feature_dtypes()["encoding"] == "bfloat16"


def test_bfloat16_is_refused_where_the_device_emulates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slowfast.models.precision.supports_bfloat16", lambda device: False)
    cfg = make_config({}, "INFERENCE.PRECISION", "bfloat16")
    with pytest.raises(ConfigError, match=r"PRECISION = 'bfloat16': must be another .*auto, float16"):
        EncodingRequest.from_config(cfg, CPU)
    assert EncodingRequest.from_config(make_config({}), CPU) == EncodingRequest()


@torch.no_grad()
def test_features_beyond_the_bound_stay_in_float32(caplog: pytest.LogCaptureFixture) -> None:
    model, frames = model_of("test_large_values"), torch.randn(1, 3, 4, 8, 8)
    exact = model.encode_frames(frames)
    with caplog.at_level(logging.INFO):
        assert choose_encoding(model, EncodingRequest(), (8, 8), CPU).precision == "float32"
    assert "float32: bfloat16 would change features by" in caplog.text
    torch.testing.assert_close(model.encode_frames(frames), exact)
    assert choose_encoding(model, EncodingRequest("bfloat16"), (8, 8), CPU).precision == "bfloat16"


@BACKBONE_REGISTRY.register("test_fragile_start")
class FragileStart(nn.Module):
    """A backbone of 24 layers, of which only the first sees small differences of large numbers."""

    feature_dim = 24

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 24, bias=False)
        self.rest = nn.Sequential(*(nn.Linear(24, 24) for _ in range(23)))

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images.mean((2, 3)) + 100.0)
        for layer in self.rest:
            x = x + 0.01 * layer(x)
        return x


@torch.no_grad()
def test_the_first_layers_stay_in_float32_where_that_keeps_the_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, frames = model_of("test_fragile_start"), torch.randn(1, 3, 4, 8, 8)
    weight = model.backbone.first.weight
    weight -= weight.mean(dim=1, keepdim=True)  # the large numbers cancel out
    exact = model.encode_frames(frames)
    with caplog.at_level(logging.INFO):
        setup = choose_encoding(model, EncodingRequest(), (8, 8), CPU)
    assert setup.precision == "bfloat16"
    assert setup.exact_layers == encoding.EXACT_LAYERS[1]
    assert "bfloat16 after 4% of the layers in float32" in caplog.text
    error = (model.encode_frames(frames) - exact).norm() / exact.norm()
    assert 0 < error < encoding.MAX_ERROR
    model.prepare_encoding(EncodingSetup("bfloat16", fold=True), frames)
    assert (model.encode_frames(frames) - exact).norm() / exact.norm() > encoding.MAX_ERROR
    # The same choice where the precision is given, so that an extraction continues as it began.
    assert choose_encoding(model, EncodingRequest("bfloat16"), (8, 8), CPU) == setup


@torch.no_grad()
@pytest.mark.parametrize("undo", ["train", "load", "move"])
def test_training_new_weights_and_moves_undo_the_choice(model: VTN, undo: str) -> None:
    frames = torch.randn(1, 3, 4, 32, 32)
    exact = model.encode_frames(frames)
    choose_encoding(model, EncodingRequest(), (32, 32), CPU)
    assert not torch.equal(model.encode_frames(frames), exact)
    if undo == "train":
        model.train().eval()
    elif undo == "load":
        model.load_state_dict(model.state_dict())
    else:
        model.to(CPU)
    torch.testing.assert_close(model.encode_frames(frames), exact)


@torch.no_grad()
def test_weights_loaded_into_the_backbone_alone_take_effect(model: VTN) -> None:
    frames = torch.randn(1, 3, 2, 32, 32)
    choose_encoding(model, EncodingRequest("float32"), (32, 32), CPU)
    old = model.encode_frames(frames)
    changed = {name: value * 1.5 for name, value in model.backbone.state_dict().items()}
    model.backbone.load_state_dict(changed)
    new = model.encode_frames(frames)
    assert not torch.allclose(new, old, atol=1e-2)

    model.backbone.load_state_dict(changed)
    choose_encoding(model, EncodingRequest("float32"), (32, 32), CPU)
    torch.testing.assert_close(model.encode_frames(frames), new, rtol=1e-4, atol=1e-4)
    assert model._encoding is not None  # it was prepared after the weights were loaded


@torch.no_grad()
@pytest.mark.parametrize("compiled", [False, True])
def test_a_prepared_model_is_pickled(model: VTN, compiled: bool) -> None:
    """Weights in the layout of oneDNN have no storage that a pickle could hold."""
    frames = torch.randn(1, 3, 2, 32, 32)
    setup = EncodingSetup("bfloat16", fold=True, compile=compiled, exact_layers=1 / 12)
    model.prepare_inference(torch.bfloat16)
    model.prepare_encoding(setup, frames)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert again._encoding.setup == setup
    if not compiled:
        torch.testing.assert_close(again(frames), model(frames), rtol=0, atol=0)


def test_layers_in_float32_are_part_of_the_description(model: VTN) -> None:
    frames = torch.randn(1, 3, 2, 32, 32)
    descriptions = []
    for exact in (0.0, 1 / 12):
        model.prepare_encoding(EncodingSetup("bfloat16", compile=True, exact_layers=exact), frames)
        descriptions.append(model.feature_dtypes()["encoding"])
    assert descriptions == ["bfloat16", "bfloat16 after 8% of the layers in float32"]


def test_training_does_not_use_the_copy(model: VTN) -> None:
    choose_encoding(model, EncodingRequest(), (32, 32), CPU)
    model(torch.randn(1, 3, 4, 32, 32)).sum().backward()
    assert all(weight.grad is not None for weight in model.backbone.parameters())
    assert not any("encoding" in name for name in model.state_dict())


@torch.no_grad()
def test_the_choice_holds_for_clips_and_tokens() -> None:
    model = tiny_clip_model(tokens=(2, 2))
    frames = torch.randn(1, 3, 21, CLIP_SIZE, CLIP_SIZE)
    exact = model.encode_frames(frames)
    setup = choose_encoding(model, EncodingRequest("bfloat16"), (CLIP_SIZE, CLIP_SIZE), CPU)
    features = model.encode_frames(frames)
    assert setup.precision == "bfloat16"
    assert 0 < (features - exact).norm() / exact.norm() < 0.05


@torch.no_grad()
def test_a_network_that_cannot_be_compiled_is_used_as_it_is(
    model: VTN, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object, **kwargs: object) -> object:
        def fail(images: Tensor) -> Tensor:
            raise RuntimeError("no C++ compiler")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level(logging.INFO):
        setup = choose_encoding(model, EncodingRequest("float32"), (32, 32), CPU, num_frames=1e9)
    assert not setup.compile
    assert "not compiled (RuntimeError: no C++ compiler)" in caplog.text
    assert torch.isfinite(model.encode_frames(torch.randn(1, 3, 4, 32, 32))).all()
    with pytest.raises(ModelError, match=r"INFERENCE.COMPILE = on: .* no C\+\+ compiler"):
        choose_encoding(model, EncodingRequest("float32", "on"), (32, 32), CPU)
    assert not choose_encoding(
        model, EncodingRequest("float32", "off"), (32, 32), CPU, num_frames=1e9
    ).compile


@torch.no_grad()
@pytest.mark.faults
def test_a_compiled_network_gives_the_same_features(model: VTN) -> None:
    """In the slow tests, since compilation takes half a minute."""
    frames = torch.randn(1, 3, 70, 32, 32)
    exact = model.encode_frames(frames)
    assert choose_encoding(model, EncodingRequest("float32", "on"), (32, 32), CPU).compile
    torch.testing.assert_close(model.encode_frames(frames), exact, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_few_frames_pass_the_backbone_at_once_without_gradients(model: VTN) -> None:
    sizes: list[int] = []
    model.backbone.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    model.encode_frames(torch.randn(1, 3, 150, 32, 32))
    most = images_per_pass("transformer", 32 * 32, CPU)
    assert sizes[0] == most == 32 * torch.get_num_threads()
    assert sum(sizes) == 150
