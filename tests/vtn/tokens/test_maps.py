"""Feature maps of backbones from all sources, and the tokens averaged from them.

N images, h w height and width of a map, F width of a feature.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ModelError
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.build import build_backbone
from vtn.backbones.frames import token_reader
from vtn.backbones.frames.token_reader import TokenReader, token_grid
from vtn.backbones.frames.trial import without_influence
from vtn.backbones.maps.feature_map import FeatureMap, grid_of
from vtn.backbones.maps.token_grid import TokenGrid, average_cells


def build(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    built = build_backbone(name, pretrained=False, options=options)
    built.network.eval()
    return built


@given(
    h=st.integers(1, 15), w=st.integers(1, 15), rows=st.integers(1, 7), columns=st.integers(1, 7),
    seed=st.integers(0, 100),
)  # fmt: skip
@settings(max_examples=60)
def test_cells_are_those_of_adaptive_average_pooling(
    h: int, w: int, rows: int, columns: int, seed: int
) -> None:
    places = torch.randn(2, h, w, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = F.adaptive_avg_pool2d(places.permute(0, 3, 1, 2), (rows, columns)).permute(0, 2, 3, 1)
    torch.testing.assert_close(average_cells(places, rows, columns), expected)


def test_sums_of_cells_are_not_rounded_to_the_dtype_of_autocast() -> None:
    places = torch.rand(2, 7, 7, 16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(average_cells(places, 3, 3), average_cells(places, 3, 3).float())
        assert average_cells(places, 3, 3).dtype == torch.float32


@given(rows=st.integers(1, 30), columns=st.integers(1, 30), patch=st.sampled_from([8, 14, 16]))
def test_the_grid_of_patches_follows_from_their_number(rows: int, columns: int, patch: int) -> None:
    assert grid_of(rows * columns, rows * patch, columns * patch) == (rows, columns)


def test_a_number_of_tokens_that_is_not_a_grid_is_refused() -> None:
    with pytest.raises(ModelError, match="returns 50 tokens for 224×224 pixels"):
        grid_of(50, 224, 224)


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("resnet10t", {}, 64),
        ("tf_efficientnet_lite0", {}, 64),
        ("torchvision:resnet18", {}, 64),
        ("torchvision:efficientnet_b0", {}, 64),
        ("torchvision:shufflenet_v2_x0_5", {}, 64),
        ("hf:resnet", {"depths": [1, 1], "hidden_sizes": [16, 32], "layer_type": "basic"}, 64),
    ],
)
def test_the_mean_of_the_last_map_is_the_pooled_feature(name: str, options: Any, size: int) -> None:
    """These networks average their last map; so one cell equals their own pooling."""
    built = build(name, **options)
    images = torch.randn(2, 3, size, size)
    found = built.feature_map(built.network, images, 0)
    torch.testing.assert_close(found.places.mean((1, 2)), built.network(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "size", "prefix"),
    [
        ("test_vit", {}, 160, 1),
        ("test_vit2", {}, 64, 1),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2, "reg_tokens": 4}, 64, 5),
    ],
)
def test_a_transformer_s_map_is_its_patch_tokens_after_the_final_norm(
    name: str, options: Any, size: int, prefix: int
) -> None:
    network = build(name, **options)
    images = torch.randn(2, 3, size, size)
    tokens = network.network.forward_features(images)
    if getattr(network.network, "fc_norm", None) is not None:
        tokens = network.network.fc_norm(tokens)
    found = network.feature_map(network.network, images, 0)
    assert network.network.num_prefix_tokens == prefix  # of test_vit2 a register token, not a class token
    torch.testing.assert_close(found.places.flatten(1, 2), tokens[:, prefix:])
    expected = None if name == "test_vit2" else tokens[:, 0]
    torch.testing.assert_close(found.class_token, expected)


def test_register_tokens_of_hugging_face_models_are_left_out() -> None:
    options = {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 42,
        "patch_size": 14, "num_register_tokens": 3,
    }  # fmt: skip
    built = build("hf:dinov2_with_registers", **options)
    images = torch.randn(2, 3, 42, 42)
    tokens = built.network.model(pixel_values=images).last_hidden_state
    found = built.feature_map(built.network, images, 0)
    assert tokens.shape[1] == 1 + 3 + 9
    torch.testing.assert_close(found.places, tokens[:, 4:].unflatten(1, (3, 3)))
    torch.testing.assert_close(found.class_token, built.network(images))


def test_one_token_of_an_earlier_stage_is_the_mean_of_its_map() -> None:
    built = build("resnet10t")
    reader = TokenReader(built, TokenGrid(stage=2))
    assert reader.prepare() == 64
    images = torch.randn(2, 3, 64, 64)
    expected = built.network.forward_intermediates(images, indices=[1], intermediates_only=True)[0]
    torch.testing.assert_close(reader(built.network, images), expected.mean((2, 3)))


def test_sizes_may_be_tried_by_several_threads_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = TokenReader(build("resnet10t"), TokenGrid(4, 4))
    assert "must be at most [2, 2]" in reader.map_problem(64, 64)
    assert "must be at most [2, 2]" in reader.map_problem(33, 33)
    fits = TokenReader._fits

    def try_another(self: TokenReader, trial: Any) -> bool:
        self._try(96 + len(self._trials), 96)  # as another thread may do
        return fits(self, trial)

    monkeypatch.setattr(TokenReader, "_fits", try_another)
    assert reader.map_problem(128, 128) == ""


def test_an_earlier_stage_has_the_stage_s_channels_and_later_layers_learn_nothing() -> None:
    built = build("resnet10t")
    reader = TokenReader(built, TokenGrid(4, 4, stage=3))
    assert reader.prepare() == 128
    images = torch.randn(1, 3, 64, 64)
    expected = built.network.forward_intermediates(images, indices=[2], intermediates_only=True)[0]
    torch.testing.assert_close(
        reader(built.network, images), F.adaptive_avg_pool2d(expected, 4).flatten(2).transpose(1, 2)
    )
    learning = {name for name, weight in built.network.named_parameters() if weight.requires_grad}
    assert any(name.startswith("layer2") for name in learning)
    assert not any(name.startswith(("layer3", "layer4")) for name in learning)
    reader(built.network, images).sum().backward()
    assert all(weight.grad is not None for weight in built.network.parameters() if weight.requires_grad)


def test_a_stage_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelError, match=r"STAGE = 9: must be 0 .* or 1 to 5"):
        TokenReader(build("resnet10t"), TokenGrid(2, 2, stage=9)).prepare()


def test_a_missing_class_token_is_refused() -> None:
    with pytest.raises(ModelError, match="CLASS_TOKEN = True: must be False for ResNet"):
        TokenReader(build("resnet10t"), TokenGrid(2, 2, class_token=True)).prepare()


def test_a_map_smaller_than_the_grid_is_refused_with_the_sizes() -> None:
    reader = TokenReader(build("resnet10t"), TokenGrid(3, 3))
    reader.prepare()
    assert reader.map_problem(96, 128) == ""
    assert "must be at most [2, 3], the feature map of 64×96 pixels" in reader.map_problem(64, 96)


def test_larger_images_need_no_further_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole pictures have many sizes, and a trial copies the network."""
    reader = TokenReader(build("resnet10t"), TokenGrid(3, 3))
    reader.prepare()
    assert reader.map_problem(96, 96) == ""
    monkeypatch.setattr(token_reader, "try_map", lambda *args, **options: pytest.fail("another trial"))
    assert [reader.map_problem(96, width) for width in range(97, 200)] == [""] * 103
    with pytest.raises(pytest.fail.Exception, match="another trial"):
        reader.map_problem(64, 200)


class Plain(nn.Module):
    """A network that says nothing about its map."""

    feature_dim = 8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)).repeat(1, 3)[:, :8]


class WithMap(Plain):
    """A network with a map of two stages and a class token."""

    def feature_map(self, images: torch.Tensor, stage: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        places = F.avg_pool2d(images, 4 if stage else 8).permute(0, 2, 3, 1)
        return places, images.amax((2, 3))


def test_own_networks_give_maps_by_a_method() -> None:
    images = torch.randn(2, 3, 32, 32)
    for stage in (0, 1):
        built = build_backbone(WithMap(), pretrained=False, options={})
        reader = TokenReader(built, TokenGrid(2, 2, class_token=True, stage=stage))
        assert reader.prepare() == 3
        tokens = reader(built.network, images)
        torch.testing.assert_close(tokens[:, 0], images.amax((2, 3)))
        torch.testing.assert_close(tokens[:, 1:], F.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2))


def test_own_networks_without_a_map_are_refused() -> None:
    built = build_backbone(Plain(), pretrained=False, options={})
    assert TokenReader(built, TokenGrid()).prepare() == 8
    with pytest.raises(ModelError, match=r"must be \[1, 1\].*add a method feature_map"):
        TokenReader(built, TokenGrid(2, 2)).prepare()


def test_a_map_that_cannot_be_copied_to_the_meta_device_is_tried_where_it_is() -> None:
    class Held(WithMap):
        def __init__(self) -> None:
            super().__init__()
            self.scale = [torch.ones(1)]  # not a buffer, so that a copy keeps it on the CPU
            self.norm = nn.BatchNorm2d(3)

        def feature_map(self, images: torch.Tensor, stage: int = 0) -> FeatureMap:  # type: ignore[override]
            return FeatureMap((self.norm(images) + self.scale[0].numpy().sum()).permute(0, 2, 3, 1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    network = Held()
    network.feature_dim = 3
    reader = TokenReader(build_backbone(network, pretrained=False, options={}), TokenGrid(2, 2))
    assert reader.prepare() == 3
    assert network.training
    assert network.norm.training
    assert float(network.norm.running_mean.abs().sum()) == 0


def test_pooling_and_a_grid_exclude_each_other() -> None:
    with pytest.raises(ModelError, match=r"backbone.pooling = 'mean': must be ''"):
        BackboneConfig("test_vit", pooling="mean", tokens=(2, 2))
    assert token_grid(BackboneConfig(tokens=[3, 2], class_token=True)).num_tokens == 7


class _Stopped(torch.autograd.Function):
    """Passes its input on, and no gradient back."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> None:
        return None


@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=8))
@settings(max_examples=40)
def test_weights_without_influence_are_those_without_gradient(steps: list[tuple[int, int, int]]) -> None:
    """Programs on four values: sums, products, halves, copies without gradient, functions that stop it."""
    weights = {f"w{i}": torch.ones(4, device="meta", requires_grad=True) for i in range(4)}
    values: list[Tensor] = list(weights.values())
    for target, source, kind in steps:
        a, b = values[target], values[source]
        split = torch.cat([a.chunk(2)[0], b.chunk(2)[1]])
        values[target] = (a + b, a * b, split, b.detach(), a + _Stopped.apply(b))[kind]
    total = values[0].sum()
    if total.requires_grad:
        gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True, retain_graph=True)
        expected = [name for name, found in zip(weights, gradients, strict=True) if found is None]
    else:
        expected = list(weights)
    assert without_influence(total, weights) == expected


def test_weights_in_a_function_that_recomputes_are_not_taken_for_unused() -> None:
    weights = {"inside": torch.ones(4, requires_grad=True), "before": torch.ones(4, requires_grad=True)}
    inside = weights["inside"]
    total = torch.utils.checkpoint.checkpoint(
        lambda x: x * inside, weights["before"], use_reentrant=True
    ).sum()
    with pytest.raises(RuntimeError, match="compatible"):
        without_influence(total, weights)
