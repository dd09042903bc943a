"""Features and maps of image models of `transformers`: equal to those of the library's own models.

N images, L tokens, h w grid of patches, F width of a feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from slowfast.errors import ModelError
from tests.support.tiny_clips import randomize, save
from vtn.backbones.base import Backbone
from vtn.backbones.build import build_backbone
from vtn.backbones.hugging_face.token_layout import TokenLayout, check_patches

SIZE = 64
VIT = {"image_size": SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
CVT = {"embed_dim": [8, 8, 16], "num_heads": [1, 1, 1], "depth": [1, 2, 3]}
SWIFTFORMER = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}


def images_of(size: int = SIZE) -> Tensor:
    """Images (2, 3, H, W)."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def model_of(model_type: str, auto_class: str = "AutoModel", **options: Any) -> Any:
    """A small model with random values in every parameter and in the statistics of batch norms."""
    config = transformers.AutoConfig.for_model(model_type, **options)
    model = getattr(transformers, auto_class).from_config(config)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    return randomize(model).eval()


def saved(model: Any, folder: Path, pooling: str = "") -> Backbone:
    """The backbone of a model that `transformers` wrote into a folder."""
    built = build_backbone(save(model, folder), pretrained=True, options={}, pooling=pooling)
    built.network.eval()
    return built


@torch.no_grad()
def feature(built: Backbone, images: Tensor) -> Tensor:
    return built.network(images)


@torch.no_grad()
def map_of(built: Backbone, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """The map (N, h·w, F) and the class token (N, F)."""
    assert built.feature_map is not None
    places, class_token = built.feature_map(built.network, images, 0)
    return places.flatten(1, 2), class_token


@torch.no_grad()
def input_of(layer: nn.Module, model: Any, images: Tensor) -> Tensor:
    """The input of a classifier's last layer."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    model(pixel_values=images)
    handle.remove()
    return found[0]


class TestMaskedAutoencoder:
    def test_every_patch_is_seen_in_its_place(self, tmp_path: Path) -> None:
        model = model_of("vit_mae", **VIT)
        built, images = saved(model, tmp_path), images_of()
        model.config.mask_ratio = 0.0
        with torch.no_grad():
            expected = model(images, noise=torch.arange(16.0).expand(2, -1)).last_hidden_state
        torch.testing.assert_close(feature(built, images), expected[:, 0])
        places, class_token = map_of(built, images)
        torch.testing.assert_close(places, expected[:, 1:])
        torch.testing.assert_close(class_token, expected[:, 0])

    def test_images_of_another_size_keep_the_order_of_their_patches(self) -> None:
        options = {**VIT, "dynamic_img_size": True}
        built = build_backbone("hf:vit_mae", pretrained=False, options=options)
        built.network.eval()
        images = images_of(96)
        assert map_of(built, images)[0].shape == (2, 36, 32)
        assert torch.equal(map_of(built, images)[0], map_of(built, images)[0])


class TestTokensBesideThePatches:
    def test_radio_returns_its_summary_and_averages_its_patches(self, tmp_path: Path) -> None:
        model, images = model_of("radio", **VIT, max_img_size=128), images_of()
        with torch.no_grad():
            theirs = model(images)
        built = saved(model, tmp_path)
        assert built.feature_dim == 64  # two class tokens
        torch.testing.assert_close(feature(built, images), theirs.summary)
        torch.testing.assert_close(feature(saved(model, tmp_path, "cls"), images), theirs.summary)
        torch.testing.assert_close(feature(saved(model, tmp_path, "mean"), images), theirs.features.mean(1))
        places, class_token = map_of(built, images)
        torch.testing.assert_close(places, theirs.features)
        torch.testing.assert_close(class_token, theirs.last_hidden_state[:, :2].mean(1))

    def test_pixio_averages_its_class_tokens(self, tmp_path: Path) -> None:
        model, images = model_of("pixio", **VIT), images_of()
        with torch.no_grad():
            theirs = model(images)
        built = saved(model, tmp_path)
        torch.testing.assert_close(feature(built, images), theirs.pooler_output)
        patches = theirs.last_hidden_state[:, 8:]
        torch.testing.assert_close(feature(saved(model, tmp_path, "mean"), images), patches.mean(1))
        places, class_token = map_of(built, images)
        torch.testing.assert_close(places, patches)
        torch.testing.assert_close(class_token, theirs.pooler_output)

    def test_the_query_of_aimv2_s_head_is_not_a_class_token(self, tmp_path: Path) -> None:
        model, images = model_of("aimv2_vision_model", **VIT, patch_size=16), images_of()
        with torch.no_grad():
            theirs = model(images)
        built = saved(model, tmp_path)
        torch.testing.assert_close(feature(built, images), theirs.pooler_output)
        torch.testing.assert_close(map_of(built, images)[0], theirs.last_hidden_state)
        mean = feature(saved(model, tmp_path, "mean"), images)
        torch.testing.assert_close(mean, theirs.last_hidden_state.mean(1))
        with pytest.raises(ModelError, match=r"POOLING = 'cls'.*does not support it"):
            saved(model, tmp_path, "cls")

    def test_the_tokens_of_a_detector_are_not_patches(self, tmp_path: Path) -> None:
        model, images = model_of("yolos", **{**VIT, "image_size": [SIZE, SIZE]}), images_of()
        with torch.no_grad():
            tokens = model(images).last_hidden_state
        assert tokens.shape[1] == 1 + 16 + 100
        torch.testing.assert_close(map_of(saved(model, tmp_path), images)[0], tokens[:, 1:17])
        mean = feature(saved(model, tmp_path, "mean"), images)
        torch.testing.assert_close(mean, tokens[:, 1:17].mean(1))

    def test_the_first_token_of_dinov3_s_convnext_is_the_mean_of_the_others(self, tmp_path: Path) -> None:
        model, images = model_of("dinov3_convnext", **STAGES), images_of()
        with torch.no_grad():
            theirs = model(images)
        built = saved(model, tmp_path)
        torch.testing.assert_close(feature(built, images), theirs.pooler_output)
        places, class_token = map_of(built, images)
        torch.testing.assert_close(places, theirs.last_hidden_state[:, 1:])
        assert class_token is None

    def test_a_mean_over_tokens_that_are_not_a_grid_is_refused(self) -> None:
        layout = TokenLayout((0,), prefix=1, suffix=3)
        check_patches(layout, torch.zeros(1, 20, 32), SIZE, "hf:yolos")
        with pytest.raises(ModelError, match="19 of its 23 tokens would count as patches of 64×64 pixels"):
            check_patches(layout, torch.zeros(1, 23, 32), SIZE, "hf:yolos")


class TestNormInTheClassifier:
    @pytest.mark.parametrize(
        ("model_type", "options"), [("poolformer", STAGES), ("swiftformer", SWIFTFORMER)]
    )
    def test_a_map_has_it_before_its_mean(
        self, model_type: str, options: dict[str, Any], tmp_path: Path
    ) -> None:
        model = model_of(model_type, "AutoModelForImageClassification", **options)
        images = images_of()
        head = model.head if model_type == "swiftformer" else model.classifier
        built = saved(model, tmp_path)
        expected = input_of(head, model, images)
        torch.testing.assert_close(feature(built, images), expected)
        torch.testing.assert_close(map_of(built, images)[0].mean(1), expected)

    def test_cvt_returns_its_normalized_class_token(self, tmp_path: Path) -> None:
        model = model_of("cvt", "AutoModelForImageClassification", **CVT)
        images = images_of()
        expected = input_of(model.classifier, model, images)
        built = saved(model, tmp_path)
        torch.testing.assert_close(feature(built, images), expected)
        torch.testing.assert_close(feature(saved(model, tmp_path, "cls"), images), expected)
        places, class_token = map_of(built, images)
        torch.testing.assert_close(class_token, expected)
        torch.testing.assert_close(feature(saved(model, tmp_path, "mean"), images), places.mean(1))

    def test_its_weights_are_read_from_a_checkpoint(self, tmp_path: Path) -> None:
        model = model_of("poolformer", "AutoModelForImageClassification", **STAGES)
        model.save_pretrained(tmp_path)
        built = build_backbone(
            "hf:poolformer", pretrained=True, options=STAGES, checkpoint=tmp_path / "model.safetensors"
        )
        built.network.eval()
        images = images_of()
        torch.testing.assert_close(feature(built, images), input_of(model.classifier, model, images))


def test_the_mean_of_a_map_replaces_a_pooler_of_several_places(tmp_path: Path) -> None:
    """TextNet's pooler returns 2 × 2 places; its classifier averages all of the map."""
    sizes = {"conv_layer_kernel_sizes": [[[3, 3]]] * 4, "conv_layer_strides": [[2], [2], [2], [2]]}
    model = model_of(
        "textnet", "AutoModelForImageClassification", **sizes, stem_out_channels=8,
        hidden_sizes=[8, 8, 8, 16, 16], image_size=96,
    )  # fmt: skip
    images = images_of(96)
    built = saved(model, tmp_path)
    assert built.feature_dim == 16
    torch.testing.assert_close(feature(built, images), input_of(model.fc, model, images))


def test_a_backbone_of_detectors_gives_its_last_map(tmp_path: Path) -> None:
    """HGNetV2 has no model of its own in transformers besides the backbone and the classifier."""
    sizes = {
        "stem_channels": [3, 8, 8], "stage_in_channels": [8, 8, 16, 16], "stage_mid_channels": [8] * 4,
        "stage_out_channels": [8, 16, 16, 24], "hidden_sizes": [8, 16, 16, 24], "embedding_size": 8,
        "stage_num_blocks": [1] * 4, "stage_numb_of_layers": [1] * 4, "depths": [1] * 4,
    }  # fmt: skip
    model = model_of("hgnet_v2", "AutoModelForImageClassification", **sizes)
    images = images_of()
    built = saved(model, tmp_path)
    assert built.feature_dim == 24
    expected = input_of(model.fc, model, images)
    torch.testing.assert_close(feature(built, images), expected)
    torch.testing.assert_close(map_of(built, images)[0].mean(1), expected)
    assert built.feature_map is not None
    places, _ = built.feature_map(built.network, images, 2)
    assert places.shape[-1] == 16


IMAGE_AND_TEXT = {"blip": "BlipModel", "metaclip_2": "MetaClip2Model", "owlvit": "OwlViTModel"}


@pytest.mark.parametrize("model_type", IMAGE_AND_TEXT)
def test_the_image_encoder_of_a_model_that_automodel_does_not_know(model_type: str, tmp_path: Path) -> None:
    vision = {**VIT, "intermediate_size": 48, "patch_size": 16}
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.AutoConfig.for_model(
        model_type, vision_config=vision, text_config={**text, "vocab_size": 99}
    )
    model = randomize(getattr(transformers, IMAGE_AND_TEXT[model_type])(config)).eval()
    images = images_of()
    with torch.no_grad():
        theirs = model.vision_model(pixel_values=images)
    built = saved(model, tmp_path)
    torch.testing.assert_close(feature(built, images), theirs.pooler_output)
    places, class_token = map_of(built, images)
    tokens = theirs.last_hidden_state
    if model_type != "blip":  # the others normalize what they use of the tokens
        tokens = model.vision_model.post_layernorm(tokens)
        torch.testing.assert_close(class_token, theirs.pooler_output)
    torch.testing.assert_close(places, tokens[:, 1:])


@pytest.mark.parametrize("architecture", ["test_vit", "test_vit2"])  # a class token; a register token
def test_a_folder_of_timm_has_timm_s_preprocessing_and_tokens(architecture: str, tmp_path: Path) -> None:
    data = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.4] * 3, "interpolation": "bicubic"}
    config = transformers.TimmWrapperConfig.from_dict(
        {
            "architecture": architecture, "num_classes": 0, "label_names": [],
            "model_args": {"dynamic_img_size": False},
            "pretrained_cfg": {**data, "fixed_input_size": True, "first_conv": "patch_embed.proj"},
        }
    )  # fmt: skip
    model = randomize(transformers.TimmWrapperModel(config)).eval()
    built, images = saved(model, tmp_path), images_of(160)
    assert (built.mean, built.std, built.interpolation) == ((0.5,) * 3, (0.4,) * 3, "bicubic")
    assert (built.image_size, built.fixed_size) == (160, True)
    with torch.no_grad():
        theirs = model(images)
        torch.testing.assert_close(feature(built, images), model.timm_model(images))
    places, class_token = map_of(built, images)
    torch.testing.assert_close(places, theirs.last_hidden_state[:, 1:])
    assert (class_token is None) == (architecture == "test_vit2")
