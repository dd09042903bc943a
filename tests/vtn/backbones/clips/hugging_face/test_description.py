"""Descriptions of the clip encoders of `transformers`, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast.errors import ModelError
from tests.support.tiny_clips import TINY_CLIPS, build_clips, full_model, save
from vtn.backbones.build import build_backbone


class TestDescription:
    """Sources: see the functions `describe` and the table FAMILIES."""

    @pytest.mark.parametrize(
        ("model_type", "options", "frames", "tubelet", "rate"),
        [
            ("vjepa2", {}, 64, 2, 4.0),
            ("videomae", {"image_size": 32}, 16, 2, 7.5),
            ("timesformer", {}, 8, 1, 30 / 32),
            ("timesformer", {"num_frames": 16}, 16, 1, 30 / 16),
            ("timesformer", {"num_frames": 96}, 96, 1, 30 / 4),
            ("vivit", {}, 32, 2, 12.5),
            ("videoprism_vision_model", {}, 16, 1, 1.6),
        ],
    )
    def test_published_configurations_have_their_clips(
        self, model_type: str, options: dict[str, Any], frames: int, tubelet: int, rate: float
    ) -> None:
        with torch.device("meta"):
            clip = build_clips(f"hf:{model_type}", **options).clip
        assert clip is not None
        assert (clip.frames, clip.tubelet, clip.fps) == (frames, tubelet, rate)
        assert clip.accepts_shorter

    @pytest.mark.parametrize(
        ("model_type", "mean", "std"),
        [
            ("vjepa2", 0.485, 0.229), ("videomae", 0.485, 0.229), ("timesformer", 0.45, 0.225),
            ("vivit", 0.5, 0.5), ("videoprism_vision_model", 0.0, 1.0),
        ],
    )  # fmt: skip
    def test_a_model_type_has_its_family_s_normalization(
        self, model_type: str, mean: float, std: float
    ) -> None:
        built = build_clips(f"hf:{model_type}", **TINY_CLIPS[model_type])
        assert (built.mean[0], built.std[0]) == (mean, std)

    @pytest.mark.parametrize("file", ["preprocessor_config.json", "video_preprocessor_config.json"])
    def test_the_file_of_a_folder_is_read(self, file: str, tmp_path: Path) -> None:
        name = save(full_model("videomae"), tmp_path)
        processing = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3}
        (tmp_path / file).write_text(json.dumps({**processing, "do_normalize": True}))
        built = build_clips(name)
        assert (built.mean, built.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        assert (built.image_size, built.interpolation) == (48, "bicubic")

    def test_the_scale_of_the_pixels_in_the_file_is_part_of_the_normalization(self, tmp_path: Path) -> None:
        name = save(full_model("videomae"), tmp_path)
        processing = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processing))
        built = build_clips(name)
        assert (built.mean, built.std) == ((0.25,) * 3, (0.25,) * 3)

    def test_vivit_s_shift_is_applied_once(self, tmp_path: Path) -> None:
        """Its published file shifts pixels to -1 … 1 and normalizes again; its training only shifted them."""
        name = save(full_model("vivit"), tmp_path)
        processing = {
            "offset": True, "rescale_factor": 1 / 127.5, "do_normalize": True,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        }  # fmt: skip
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processing))
        built = build_clips(name)
        assert (built.mean, built.std) == ((0.5,) * 3, (0.5,) * 3)


class TestErrors:
    def test_values_of_another_type_are_refused(self) -> None:
        with pytest.raises(ModelError, match=r"VTN\.BACKBONE\.ARGS = .*hidden_size"):
            build_clips("hf:videomae", hidden_size="wide")

    def test_a_pooling_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"POOLING = 'mean': must be '' for the clip encoder"):
            build_backbone("hf:vjepa2", pretrained=False, options={}, pooling="mean")

    @pytest.mark.parametrize(
        ("model_type", "options", "reason"),
        [
            ("videomae", {"image_size": 50}, "image_size = 50: must be a multiple of 16"),
            ("videomae", {"num_frames": 7}, "clips of 7 frames: must be a multiple of 2"),
            ("videomae", {"image_size": [48, 32]}, "must be squares"),
            ("vjepa2", {"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
            ("timesformer", {"attention_type": "space_only"}, "must be divided_space_time"),
        ],
    )
    def test_configurations_that_cannot_be_computed(
        self, model_type: str, options: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(ModelError, match=reason):
            build_clips(f"hf:{model_type}", **{**TINY_CLIPS[model_type], **options})

    def test_weights_of_a_model_type_are_refused(self) -> None:
        with pytest.raises(ModelError, match="hf:vjepa2: is a model type and has no weights"):
            build_backbone("hf:vjepa2", pretrained=True, options=TINY_CLIPS["vjepa2"])

    def test_a_later_format_of_v_jepa_2_1_is_refused(self, tmp_path: Path) -> None:
        """A version of transformers without V-JEPA 2.1 would load the weights and compute wrong positions."""
        name = save(full_model("vjepa2"), tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "use_rope_interleave": True}))
        with pytest.raises(ModelError, match=r"use_rope_interleave, .* V-JEPA 2\.1.* vjepa2_1_vit_base_384"):
            build_clips(name)

    def test_incomplete_weights_are_refused(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        name = save(full_model("vivit"), tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        del weights["layernorm.weight"]
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=r"lacks 1 weights of VivitModel: layernorm\.weight"):
            build_clips(name)

    def test_a_name_without_a_network(self) -> None:
        with pytest.raises(ModelError, match="MCG-NJU/videomae-base/tree/main"):
            build_backbone("hf:MCG-NJU/videomae-base", pretrained=True, options={})
