"""The images of a `hf:` backbone: those that the image processor of `transformers` makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from vtn.backbones.base import Backbone
from vtn.backbones.build import build_backbone

VIT = {
    "image_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 48,
}  # fmt: skip
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
UNCHANGED = {"do_resize": False, "do_center_crop": False}


def write(folder: Path, processor: dict[str, Any], model_type: str = "vit", **options: Any) -> str:
    """A folder with a configuration and a processor's file; returns the name of the backbone."""
    transformers.AutoConfig.for_model(model_type, **(options or VIT)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return f"hf:{folder}"


def build(name: str) -> Backbone:
    torch.manual_seed(0)
    built = build_backbone(name, pretrained=False, options={})
    built.network.eval()
    return built


def pixels_of(built: Backbone) -> Tensor:
    """The pixels (1, 3, H, W) that the model gets of IMAGE, normalised as for a video."""
    frames = torch.from_numpy(IMAGE).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (built.mean, built.std))
    found: list[Tensor] = []

    def keep(_: Any, inputs: Any, options: dict[str, Tensor]) -> None:
        found.append(options["pixel_values"])

    handle = built.network.model.register_forward_pre_hook(keep, with_kwargs=True)  # type: ignore[union-attr]
    with torch.no_grad():
        built.network(((frames - mean) / std)[None])
    handle.remove()
    return found[0]


@pytest.mark.parametrize(
    "processor",
    [
        pytest.param({"image_processor_type": "CLIPImageProcessor"}, id="defaults of the class"),
        pytest.param({"image_processor_type": "ViTImageProcessor"}, id="defaults of another class"),
        pytest.param(
            {
                "image_processor_type": "ViTImageProcessor", "do_rescale": False,
                "image_mean": [123.7, 116.3, 103.5], "image_std": [58.4, 57.1, 57.4],
            },
            id="no scaling",
        ),
        pytest.param(
            {"image_processor_type": "ViTImageProcessor", "rescale_factor": 1 / 127.5}, id="another scale"
        ),
        pytest.param(
            {"image_processor_type": "ViTImageProcessor", "do_normalize": False, "do_rescale": False},
            id="neither",
        ),
        pytest.param({"image_processor_type": "EfficientNetImageProcessor"}, id="normalized twice"),
        pytest.param(
            {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True}, id="an offset"
        ),
        pytest.param(
            {"feature_extractor_type": "MobileViTFeatureExtractor", "do_flip_channel_order": True},
            id="blue, green, red",
        ),
    ],
)  # fmt: skip
def test_the_model_gets_the_pixels_of_its_processor(processor: dict[str, Any], tmp_path: Path) -> None:
    name = write(tmp_path, processor)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    expected = theirs(IMAGE, return_tensors="pt", **UNCHANGED)["pixel_values"]
    built = build(name)
    torch.testing.assert_close(pixels_of(built), expected.float(), atol=2e-5, rtol=2e-5)
    assert built.reading == (2 if "do_flip_channel_order" in processor else 1), (
        "version 1 did not exchange them"
    )


def test_values_that_the_class_states_are_exact(tmp_path: Path) -> None:
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    built = build(write(tmp_path, {"do_normalize": True, "image_processor_type": "CLIPImageProcessor"}))
    assert (built.mean, built.std) == (tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD))
    assert built.interpolation == "bicubic"


def test_a_normalization_without_values_is_the_default_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = {"image_processor_type": "ViTImageProcessor", "image_mean": None, "image_std": None}
    built = build(write(tmp_path, processor))
    assert (built.mean, built.std) == ((0.45,) * 3, (0.225,) * 3)
    assert "its image processor states no mean and standard deviation" in caplog.text


def test_the_file_alone_is_used_where_its_class_is_not_installed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = {
        "image_processor_type": "AnImageProcessor", "image_mean": [0.1, 0.2, 0.3], "resample": 3,
        "auto_map": {"AutoImageProcessor": "code.AnImageProcessor"}, "rescale_factor": 1 / 127.5,
        "image_std": [0.5, 0.5, 0.5],
    }  # fmt: skip
    (tmp_path / "code.py").write_text("raise SystemExit('code of the folder was run')")
    built = build(write(tmp_path, processor))
    assert built.mean == (0.05, 0.1, 0.15)
    assert built.std == (0.25, 0.25, 0.25)
    assert built.interpolation == "bicubic"
    assert "its image processor cannot be made" in caplog.text


DINOV2 = {
    "image_size": 518, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2,
}  # fmt: skip
CROPS = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "crop_size": 224}


class TestSize:
    """The size of the table of positions counts only where the network accepts no other."""

    def test_it_is_that_of_the_crops(self, tmp_path: Path) -> None:
        built = build(write(tmp_path, CROPS, "dinov2", **DINOV2))
        assert (built.image_size, built.fixed_size) == (224, False)

    def test_it_is_that_of_the_whole_images_where_none_are_cropped(self, tmp_path: Path) -> None:
        processor = {**CROPS, "do_center_crop": False, "size": {"height": 280, "width": 280}}
        assert build(write(tmp_path, processor, "dinov2", **DINOV2)).image_size == 280

    def test_a_network_for_one_size_keeps_it(self, tmp_path: Path) -> None:
        built = build(write(tmp_path, {**CROPS, "image_processor_type": "ViTImageProcessor"}))
        assert (built.image_size, built.fixed_size) == (64, True)
