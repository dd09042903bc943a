"""Construction of image models of `transformers`: dtype, refused models, identity of their features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from slowfast.errors import ModelError
from slowfast.features.cache import describe_differences
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.build import build_backbone
from vtn.backbones.frames.backbone_model import BackboneModel

VIT = {"image_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def test_random_weights_have_32_bits_whatever_the_configuration_says(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**VIT, intermediate_size=48, dtype="bfloat16")
    config.save_pretrained(tmp_path)
    built = build_backbone(f"hf:{tmp_path}", pretrained=False, options={})
    assert {p.dtype for p in built.network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("perceiver", "must return one feature .* but fails with TypeError"),
        ("xclip", "must return one feature .* but fails with RuntimeError"),
        ("idefics2", "no class that encodes images alone for Idefics2VisionConfig; use another model"),
        ("dinat", "requires the natten library"),
    ],
)
def test_a_model_that_is_not_an_image_encoder_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"backbone hf:{name}: .*{message}"):
        build_backbone(f"hf:{name}", pretrained=False, options={})


class TestReadingOfImages:
    """Features of a model type whose reading was corrected are refused, and those of others stay usable."""

    @pytest.mark.parametrize(
        ("model_type", "pooling", "recorded"), [("vit", "mean", None), ("vit_mae", "", "version 2")]
    )
    def test_it_is_part_of_the_source_of_features_once_it_was_corrected(
        self, model_type: str, pooling: str, recorded: str | None
    ) -> None:
        config = BackboneConfig(f"hf:{model_type}", pretrained=False, args=VIT, pooling=pooling)
        source = BackboneModel(config).feature_source()
        assert source.get("reading of images") == recorded
        earlier = {name: value for name, value in source.items() if name != "reading of images"}
        expected = "reading of images: the cache has None, needed is version 2"
        assert describe_differences(earlier, source) == ([expected] if recorded else [])
