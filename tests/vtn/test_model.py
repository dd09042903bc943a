"""Behaviour of the models: padding, chunks, freezing, dtypes, prepared inference, and what the engine asks.

B clips, T frames.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.config import load_config
from slowfast.datasets.clip import Clip, Normalization
from slowfast.errors import ModelError
from slowfast.models.build import build_model
from tests.support.golden_cases import Golden, small_model
from tests.support.tiny_models import (
    SIZE,
    TINY,
    random_clips,
    random_features,
    tiny,
    tiny_average,
    tiny_probe,
)
from vtn import VTN
from vtn.frame_model import FrameModel


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
@torch.no_grad()
def test_padding_does_not_change_the_logits_of_a_clip(build: Callable[[], FrameModel]) -> None:
    model, frames, lengths = build(), random_clips(3, 40), (40, 1, 9)
    mask = torch.arange(40) < torch.tensor(lengths)[:, None]
    frames = frames.masked_fill(~mask[:, None, :, None, None], float("nan"))
    logits = model(frames, mask=mask)
    for row, n in enumerate(lengths):
        assert_close(logits[row : row + 1], model(frames[row : row + 1, :, :n]))


@torch.no_grad()
def test_logits_are_the_same_in_one_pass_in_chunks_and_from_features() -> None:
    model, frames = tiny(), random_clips(2, 11)
    expected = model(frames)
    features = model.encode_frames(frames)
    assert features.shape == (2, 11, 24)
    assert_close(model.classify(features), expected)
    assert_close(model.mlp_head(model.encode_video(features)), expected)
    for chunk in (1, 3, 5, 100):
        model.chunk_frames = chunk
        assert_close(model(frames), expected)
        assert_close(model(frames, mask=torch.ones(2, 11, dtype=torch.bool)), expected)
    model.chunk_frames = 4
    mask = torch.arange(11) < torch.tensor([[11], [6]])
    assert_close(model(frames, mask=mask)[1:], model(frames[1:, :, :6]))


def test_frames_reach_the_backbone_channels_last_as_they_are_collated() -> None:
    """Convolutions are faster so. It needs no setting: a batch is laid out in memory as decoded."""
    clips = [
        Clip(torch.zeros(4, SIZE, SIZE, 3, dtype=torch.uint8).permute(3, 0, 1, 2), torch.arange(4), 0, video)
        for video in range(2)
    ]
    model, layouts = tiny().train(), []
    first = next(module for module in model.backbone.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, args: layouts.append(args[0]))

    batch = Clip.collate(clips)
    model(batch.inputs(Normalization((0.5,) * 3, (0.5,) * 3)), batch.positions, batch.mask)

    assert layouts
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images in layouts)


def test_activation_checkpointing_does_not_change_gradients() -> None:
    def gradients(**changes: Any) -> list[Tensor]:
        model = tiny(**changes)
        model(random_clips()).sum().backward()
        return [parameter.grad for parameter in model.backbone.parameters()]

    for plain, recomputed in zip(gradients(), gradients(act_checkpoint=True, chunk_frames=4), strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)


def test_a_frozen_backbone_does_not_change() -> None:
    model = tiny(frozen=True).train()
    assert not any(module.training for module in model.backbone.modules())
    assert model.temporal_encoder.training
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(random_clips()).sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert model.cls_token.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_vtn_depends_on_the_order_of_frames_and_the_average_does_not() -> None:
    frames = random_clips()
    backwards = frames.flip(2)
    average, model = tiny_average(), tiny()
    assert_close(average(frames), average(backwards))
    assert (model(frames) - model(backwards)).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
@torch.no_grad()
def test_positions_of_any_integer_dtype_are_equal(dtype: torch.dtype) -> None:
    model, positions = tiny(), torch.tensor([[0, 3, 9, 27, 81, 120]] * 2)
    assert_close(
        model.classify(random_features(), positions.to(dtype)), model.classify(random_features(), positions)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_features_and_frames_of_any_float_dtype_are_converted(dtype: torch.dtype) -> None:
    """They are converted to the dtype of the model."""
    model, features, frames = tiny(), random_features().to(dtype), random_clips().to(dtype)
    assert_close(model.classify(features), model.classify(features.float()))
    assert_close(model(frames), model(frames.float()))


@torch.no_grad()
def test_memory_layout_of_inputs_does_not_matter() -> None:
    model = tiny()
    features = random_features().transpose(0, 1).contiguous().transpose(0, 1)
    frames = random_clips().permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    assert not features.is_contiguous()
    assert not frames.is_contiguous()
    assert_close(model.classify(features), model.classify(features.contiguous()))
    assert_close(model(frames), model(frames.contiguous()))
    positions = torch.arange(12).view(6, 2).T
    assert_close(model.classify(features, positions), model.classify(features, positions.contiguous()))


@torch.no_grad()
def test_windows_larger_than_the_sequence_give_the_same_result() -> None:
    wide, wider = tiny(attention_window=12), tiny(attention_window=600)
    assert_close(wide.classify(random_features()), wider.classify(random_features()))


@torch.no_grad()
def test_an_empty_batch_gives_empty_logits() -> None:
    assert tiny().classify(torch.zeros(0, 6, 24)).shape == (0, 5)
    # A transformer of timm cannot reshape the patches of no images.
    transformer = VTN("test_vit", **{**TINY, "pretrained": False, "backbone_args": {"img_size": 32}}).eval()
    assert transformer(torch.zeros(0, 3, 6, 32, 32)).shape == (0, 5)


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
@torch.no_grad()
def test_features_and_their_classification_are_the_two_halves_of_a_model(
    build: Callable[[], FrameModel],
) -> None:
    model, frames = build(), random_clips()
    positions, mask = torch.arange(6).expand(2, 6) * 3, torch.arange(6) < torch.tensor([[6], [4]])
    logits = model.classify(model.encode_frames(frames, mask), positions, mask)
    assert torch.equal(logits, model(frames, positions, mask))


# ------------------------------------------------------------------------------------ inference


@torch.no_grad()
def test_prepared_inference_gives_the_golden_logits(golden: Golden) -> None:
    model = golden.model([18, 18, 18])
    for case in ("w0_F37_wrap", "w0_long3000_stride7"):
        inputs, positions = golden.inputs(case)
        features = inputs if inputs.ndim == 3 else model.encode_frames(inputs)
        model.prepare_inference()
        assert_close(model.classify(features, positions), golden.tensor(f"{case}.logits"))
        model.prepare_inference(torch.bfloat16)
        logits = model.classify(features, positions)
        assert logits.dtype == torch.float32
        assert (logits - golden.tensor(f"{case}.logits")).abs().max() < 0.05
        model.train().eval()


@pytest.mark.parametrize("undo", ["train", "load", "load encoder", "move", "gradient"])
def test_packed_weights_are_not_used_after_a_change(undo: str) -> None:
    """After new weights, and where gradients are computed, the model uses its own parameters."""
    model, features = tiny(), random_features()
    model.prepare_inference()
    other = tiny()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    if undo == "train":
        model.train()
        with torch.no_grad():
            for parameter, new in zip(model.parameters(), other.parameters(), strict=True):
                parameter.copy_(new)
        model.eval()
    elif undo == "load":
        model.load_state_dict(other.state_dict())
    elif undo == "load encoder":
        model.temporal_encoder.load_state_dict(other.temporal_encoder.state_dict())
        with torch.no_grad():
            expected = other.temporal_encoder(features, model.cls_token, None, None)
            assert_close(model.encode_video(features), expected)
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
def test_prepared_inference_encodes_frames_in_half_precision() -> None:
    model = tiny()
    expected = model(random_clips())
    model.prepare_inference(torch.bfloat16)
    assert model.encode_frames(random_clips()).dtype == torch.bfloat16
    assert 0 < (model(random_clips()) - expected).abs().max() < 0.05
    model.load_state_dict(model.state_dict())
    assert_close(model(random_clips()), expected)


# ------------------------------------------------------------------------------- for the engine


def test_tokens_and_position_tables_have_no_weight_decay() -> None:
    names = small_model().no_weight_decay()
    assert {"cls_token", "backbone.cls_token", "backbone.pos_embed"} <= names
    assert "temporal_encoder.embeddings.position_embeddings.weight" in names
    assert names <= {name for name, _ in small_model().named_parameters()}
    position = "temporal_encoder.embeddings.position_embeddings.weight"
    assert position not in tiny(position="sinusoidal").no_weight_decay()


def test_layer_depths_increase_from_input_to_output() -> None:
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


def test_shard_units_are_the_blocks_of_the_backbone_and_all_encoder_layers_but_the_last() -> None:
    arguments = {**TINY, "backbone_args": {"img_size": SIZE}}
    model = VTN("test_vit", pretrained=False, **arguments)
    assert model.shard_units() == [*model.backbone.blocks, model.temporal_encoder.layers[0]]
    small = tiny()  # single convolutions and norms are too small to be units
    assert small.shard_units() == [small.temporal_encoder.layers[0]]


NO_ARGS = ("VTN.BACKBONE.ARGS", "{}")


@pytest.mark.parametrize("name", ["precomputed", "resnet18"])
def test_arguments_that_are_left_from_another_backbone_have_a_remedy(name: str) -> None:
    with pytest.raises(ModelError, match=r'image_size.*VTN\.BACKBONE\.ARGS "{}" removes the arguments'):
        build_model(load_config("QUICKSTART", ["VTN.BACKBONE.NAME", name]))


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ((), logging.INFO),
        (("VTN.BACKBONE.FROZEN", "True"), logging.WARNING),
        (("DATA.FEATURES", "cache"), logging.WARNING),
        (("VTN.BACKBONE.NAME", "precomputed", *NO_ARGS, "VTN.BACKBONE.ARGS", "{'feature_dim': 8}"), None),
    ],
)
def test_random_weights_of_a_backbone_are_reported(
    caplog: pytest.LogCaptureFixture, changes: tuple[str, ...], level: int | None
) -> None:
    """As a warning where they stay random: a recipe that is changed may keep PRETRAINED False."""
    cfg = load_config("QUICKSTART", [*changes])
    with caplog.at_level(logging.INFO):
        build_model(cfg, fetch_weights=False)
        assert "random weights" not in caplog.text  # those of a checkpoint are loaded next
        build_model(cfg)
    found = [record for record in caplog.records if "random weights (VTN.BACKBONE" in record.getMessage()]
    assert [record.levelno for record in found] == ([] if level is None else [level])
