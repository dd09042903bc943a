"""A folder saved by transformers is a backbone with its own image preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast.errors import ModelError
from tests.support.backbones.small_vit import features_of
from vtn.backbones.build import build_backbone


class TestHuggingFaceFolders:
    """A folder saved by transformers is a backbone with its own image preprocessing."""

    CLIP: dict[str, Any] = {  # noqa: RUF012
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48,
    }  # fmt: skip

    def save_clip(self, folder: Path) -> Any:
        from transformers import CLIPConfig, CLIPModel

        torch.manual_seed(3)
        vision = {**self.CLIP, "image_size": 32, "patch_size": 16}
        model = CLIPModel(CLIPConfig(vision_config=vision, text_config={**self.CLIP, "vocab_size": 50}))
        model.save_pretrained(folder)
        processing = {
            "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3, "do_normalize": True,
            "crop_size": {"height": 32, "width": 32}, "image_processor_type": "CLIPImageProcessor",
        }  # fmt: skip
        (folder / "preprocessor_config.json").write_text(json.dumps(processing))
        return model.eval()

    def test_the_image_tower_of_a_model_of_images_and_text_is_used(self, tmp_path: Path) -> None:
        model = self.save_clip(tmp_path)
        built = build_backbone(f"hf:{tmp_path}", pretrained=True, options={})
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            expected = model.vision_model(images).pooler_output
        torch.testing.assert_close(features_of(built.network, images), expected)
        assert (built.mean, built.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        assert (built.image_size, built.interpolation, built.fixed_size) == (32, "bicubic", True)

    def test_a_folder_without_weights_is_enough_for_an_untrained_backbone(self, tmp_path: Path) -> None:
        self.save_clip(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        assert build_backbone(f"hf:{tmp_path}", pretrained=False, options={}).feature_dim == 32
        with pytest.raises(ModelError, match="cannot get the published weights"):
            build_backbone(f"hf:{tmp_path}", pretrained=True, options={})

    def test_a_file_of_weights_for_such_a_folder_is_loaded(self, tmp_path: Path) -> None:
        model = self.save_clip(tmp_path)
        built = build_backbone(
            f"hf:{tmp_path}", pretrained=True, options={}, checkpoint=tmp_path / "model.safetensors"
        )
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            expected = model.vision_model(images).pooler_output
        torch.testing.assert_close(features_of(built.network, images), expected)

    def test_unknown_arguments_are_refused(self, tmp_path: Path) -> None:
        self.save_clip(tmp_path)
        with pytest.raises(ModelError, match="unknown keys depth; CLIPVisionConfig has"):
            build_backbone(f"hf:{tmp_path}", pretrained=False, options={"depth": 3})
