"""What a user of ``vtn.VTN`` may rely on, and what bad input gets.

B clips, T frames, F width of a feature, D width of the encoder, K classes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vtn
from slowfast.errors import InputError, NotFiniteError
from tests.support.golden_cases import Golden, small_model
from tests.support.tiny_models import SIZE, TINY, tiny, tiny_average
from vtn import VTN
from vtn.frame_model import FrameModel


def clips(B: int = 2, T: int = 6) -> Tensor:
    return torch.randn(B, 3, T, 16, 16, generator=torch.Generator().manual_seed(0))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("build", [tiny, tiny_average])
@torch.no_grad()
def test_a_padded_batch_gives_each_clip_what_it_gives_alone(build: Callable[[], FrameModel]) -> None:
    model, frames, lengths = build(), clips(3, 40), (40, 1, 9)
    mask = torch.arange(40) < torch.tensor(lengths)[:, None]
    frames = frames.masked_fill(~mask[:, None, :, None, None], float("nan"))
    logits = model(frames, mask=mask)
    for row, n in enumerate(lengths):
        close(logits[row : row + 1], model(frames[row : row + 1, :, :n]))


@torch.no_grad()
def test_end_to_end_in_chunks_and_from_features_agree() -> None:
    model, frames = tiny(), clips(2, 11)
    expected = model(frames)
    features = model.encode_frames(frames)
    assert features.shape == (2, 11, 24)
    close(model.classify(features), expected)
    close(model.mlp_head(model.encode_video(features)), expected)
    for chunk in (1, 3, 5, 100):
        model.chunk_frames = chunk
        close(model(frames), expected)
        close(model(frames, mask=torch.ones(2, 11, dtype=torch.bool)), expected)
    model.chunk_frames = 4
    mask = torch.arange(11) < torch.tensor([[11], [6]])
    close(model(frames, mask=mask)[1:], model(frames[1:, :, :6]))


def test_activation_checkpointing_changes_no_gradient() -> None:
    def gradients(**changes: Any) -> list[Tensor]:
        model = tiny(**changes)
        model(clips()).sum().backward()
        return [parameter.grad for parameter in model.backbone.parameters()]

    for one, other in zip(gradients(), gradients(act_checkpoint=True, chunk_frames=4), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_frozen_backbone_stays_as_it_is() -> None:
    model = tiny(frozen=True).train()
    assert not any(module.training for module in model.backbone.modules())
    assert model.temporal_encoder.training
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(clips()).sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert model.cls_token.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_the_average_does_not_know_order_and_vtn_does() -> None:
    frames = clips()
    backwards = frames.flip(2)
    average, model = tiny_average(), tiny()
    close(average(frames), average(backwards))
    assert (model(frames) - model(backwards)).abs().max() > 1e-3


# ------------------------------------------------------------------------------------ bad input


def features_of(T: int = 6) -> Tensor:
    return torch.randn(2, T, 24, generator=torch.Generator().manual_seed(0))


def with_value(x: Tensor, index: tuple[int, ...], value: float) -> Tensor:
    x = x.clone()
    x[index] = value
    return x


@pytest.mark.parametrize("build", [tiny, tiny_average])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((features_of(0),), "no frames"),
        ((features_of()[..., :7],), "give (clips, frames, 24)"),
        ((features_of()[0],), "give (clips, frames, 24)"),
        ((features_of().long(),), "give a float type"),
        ((with_value(features_of(), (1, 3), float("nan")),), "first in frame 3 of clip 1"),
        ((with_value(features_of(), (0, 5, 2), float("inf")),), "first in frame 5 of clip 0"),
        ((features_of(), torch.zeros(2, 6)), "give whole numbers"),
        ((features_of(), torch.zeros(2, 6, dtype=torch.bool)), "give whole numbers"),
        ((features_of(), torch.arange(6)), "the frames need (2, 6)"),
        ((features_of(), torch.full((2, 6), -1)), "the first frame of a video is 0"),
        ((features_of(), None, torch.ones(2, 6)), "give torch.bool"),
        ((features_of(), None, torch.ones(2, 5, dtype=torch.bool)), "the frames need (2, 6)"),
        ((features_of(), None, torch.tensor([[True] * 6, [False] * 6])), "clips [1]"),
    ],
)
def test_features_that_cannot_be_taken(
    build: Callable[[], FrameModel], arguments: tuple[Tensor, ...], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build().classify(*arguments)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(2, 3, 0, 16, 16), "no frames"),
        (torch.zeros(2, 3, 4, 16, 16, dtype=torch.uint8), "normalise them first"),
        (torch.zeros(2, 4, 3, 16, 16), "give (clips, 3, frames, height, width)"),
        (torch.zeros(3, 4, 16, 16), "give (clips, 3, frames, height, width)"),
        (torch.zeros(1, 3, 2, 20, 16), "16×16 pixels alone, not 20×16"),
    ],
)
def test_frames_that_cannot_be_taken(frames: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        tiny()(frames)


def test_weights_that_are_not_finite_are_said_to_be() -> None:
    model = tiny()
    nn.init.constant_(model.cls_token, float("nan"))
    with pytest.raises(InputError, match="its weights are"):
        model.classify(features_of())


def test_what_is_gathered_one_at_a_time_where_a_model_is_spread_over_processes() -> None:
    arguments = {**TINY, "backbone_args": {"img_size": SIZE}}
    model = VTN("test_vit", pretrained=False, **arguments)
    assert model.shard_units() == [*model.backbone.blocks, model.temporal_encoder.layers[0]]
    small = tiny()  # its backbone's single convolutions and norms are no units
    assert small.shard_units() == [small.temporal_encoder.layers[0]]


@pytest.mark.parametrize("build", [tiny, tiny_average])
def test_in_training_results_that_are_not_finite_are_left_to_the_loss(
    build: Callable[[], FrameModel],
) -> None:
    """A step with them is skipped; only in evaluation are they an error, which says whose they are."""
    features = with_value(features_of(), (1, 3), float("nan"))
    logits = build().train().classify(features)
    assert logits.isfinite().all(dim=1).tolist() == [True, False]
    with pytest.raises(NotFiniteError) as caught:
        build().classify(features)
    assert caught.value.clips == (1,)


def test_a_backbone_that_keeps_its_map_is_refused() -> None:
    backbone = nn.Conv2d(3, 24, 3)
    backbone.feature_dim = 24
    with pytest.raises(InputError, match="one row of width 24 a frame"):
        VTN(backbone, **{**TINY, "backbone_args": None})(clips())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
@torch.no_grad()
def test_positions_of_any_integer_type(dtype: torch.dtype) -> None:
    model, positions = tiny(), torch.tensor([[0, 3, 9, 27, 81, 120]] * 2)
    close(model.classify(features_of(), positions.to(dtype)), model.classify(features_of(), positions))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_features_and_frames_of_any_float_type(dtype: torch.dtype) -> None:
    """They are taken for what they say, in the precision of the model."""
    model, features, frames = tiny(), features_of().to(dtype), clips().to(dtype)
    close(model.classify(features), model.classify(features.float()))
    close(model(frames), model(frames.float()))


@torch.no_grad()
def test_layout_in_memory_does_not_matter() -> None:
    model = tiny()
    features = features_of().transpose(0, 1).contiguous().transpose(0, 1)
    frames = clips().permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    assert not features.is_contiguous()
    assert not frames.is_contiguous()
    close(model.classify(features), model.classify(features.contiguous()))
    close(model(frames), model(frames.contiguous()))
    positions = torch.arange(12).view(6, 2).T
    close(model.classify(features, positions), model.classify(features, positions.contiguous()))


@torch.no_grad()
def test_a_window_larger_than_the_sequence_sees_all_of_it() -> None:
    wide, wider = tiny(attention_window=12), tiny(attention_window=600)
    close(wide.classify(features_of()), wider.classify(features_of()))


@torch.no_grad()
def test_no_clips_give_no_logits() -> None:
    assert tiny().classify(torch.zeros(0, 6, 24)).shape == (0, 5)


# ------------------------------------------------------------------------------------ inference


@torch.no_grad()
def test_prepared_inference_gives_the_same(golden: Golden) -> None:
    model = golden.model([18, 18, 18])
    for case in ("w0_F37_wrap", "w0_long3000_stride7"):
        inputs, positions = golden.inputs(case)
        features = inputs if inputs.ndim == 3 else model.encode_frames(inputs)
        model.prepare_inference()
        close(model.classify(features, positions), golden.tensor(f"{case}.logits"))
        model.prepare_inference(torch.bfloat16)
        half = model.classify(features, positions)
        assert half.dtype == torch.float32
        assert (half - golden.tensor(f"{case}.logits")).abs().max() < 0.05
        model.train().eval()


@pytest.mark.parametrize("undo", ["train", "load", "load encoder", "move", "gradient"])
def test_prepared_weights_never_go_stale(undo: str) -> None:
    """After new weights, or where gradients are wanted, the packed copies have no say."""
    model, features = tiny(), features_of()
    model.prepare_inference()
    other = tiny()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    if undo == "train":
        model.train()
        with torch.no_grad():
            for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
                mine.copy_(theirs)
        model.eval()
    elif undo == "load":
        model.load_state_dict(other.state_dict())
    elif undo == "load encoder":
        model.temporal_encoder.load_state_dict(other.temporal_encoder.state_dict())
        with torch.no_grad():
            expected = other.temporal_encoder(features, model.cls_token, None, None)
            close(model.encode_video(features), expected)
        return
    elif undo == "move":
        model.double()
        other.double()
        model.load_state_dict(other.state_dict())
    else:
        model.classify(features).sum().backward()
        assert model.temporal_encoder.layers[0].intermediate["dense"].weight.grad is not None
        return
    with torch.no_grad():
        torch.testing.assert_close(model.classify(features), other.classify(features))


@torch.no_grad()
def test_prepared_model_computes_frames_in_half_precision() -> None:
    model = tiny()
    expected = model(clips())
    model.prepare_inference(torch.bfloat16)
    assert model.encode_frames(clips()).dtype == torch.bfloat16
    assert 0 < (model(clips()) - expected).abs().max() < 0.05
    model.load_state_dict(model.state_dict())
    close(model(clips()), expected)


# ------------------------------------------------------------------- what the engine asks a model


def test_parameters_without_weight_decay() -> None:
    names = small_model().no_weight_decay()
    assert {"cls_token", "backbone.cls_token", "backbone.pos_embed"} <= names
    assert "temporal_encoder.embeddings.position_embeddings.weight" in names
    assert names <= {name for name, _ in small_model().named_parameters()}
    position = "temporal_encoder.embeddings.position_embeddings.weight"
    assert position not in tiny(position="sinusoidal").no_weight_decay()


def test_depths_grow_from_input_to_output() -> None:
    model = small_model()
    path = [
        "backbone.patch_embed.proj.weight",
        "backbone.blocks.0.attn.qkv.weight",
        "backbone.blocks.1.attn.qkv.weight",
        "cls_token",
        *(f"temporal_encoder.encoder.layer.{i}.output.dense.weight" for i in range(3)),
        "mlp_head.4.weight",
    ]
    depths = [model.layer_id(name)[0] for name in path]
    assert depths == sorted(depths)
    assert len(set(depths)) == len(path)
    total = model.layer_id("cls_token")[1]
    assert depths[-1] == total - 1
    assert all(0 <= model.layer_id(name)[0] < total for name, _ in model.named_parameters())


def test_imports_when_used() -> None:
    """The project entry imports no torch, and the models import no transformers."""
    code = """
import sys
import vtn.project
assert "torch" not in sys.modules
import vtn
vtn.VTN("shallow_conv", hidden_dim=12)
assert "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(vtn.__all__) <= set(dir(vtn))
    with pytest.raises(AttributeError, match="Vtn"):
        _ = vtn.Vtn
