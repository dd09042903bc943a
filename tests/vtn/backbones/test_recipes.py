"""The recipes for the paper's models and for recent image encoders, built on the meta device."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import vtn.configs

from slowfast.config import load_config
from slowfast.datasets.groups import groups_by_pattern
from slowfast.models import build_model
from slowfast.models.frame_format import adopt_frame_format
from slowfast.solver import build_optimizer
from vtn.config import attention_windows

FOLDER = Path(vtn.configs.__path__[0])
# name -> backbone, F, layers, positions, frozen
PAPER = {
    "VIT_B_VTN": ("vit_base_patch16_224", 768, 3, "learned", False),
    "VIT_B_VTN_1LAYER": ("vit_base_patch16_224", 768, 1, "learned", False),
    "VIT_B_VTN_6LAYERS": ("vit_base_patch16_224", 768, 6, "learned", False),
    "VIT_B_VTN_12LAYERS": ("vit_base_patch16_224", 768, 12, "learned", False),
    "VIT_B_VTN_FIXED_POSITIONS": ("vit_base_patch16_224", 768, 3, "sinusoidal", False),
    "VIT_B_VTN_NO_POSITIONS": ("vit_base_patch16_224", 768, 3, "none", False),
    "VIT_B_VTN_FROZEN": ("vit_base_patch16_224", 768, 3, "learned", True),
    **{
        f"{name}_VTN{suffix}": (backbone, width, layers, "learned", frozen)
        for name, backbone, width in (
            ("DEIT_B", "deit_base_patch16_224", 768),
            ("DEIT_TI", "deit_tiny_patch16_224", 192),
            ("R50", "resnet50", 2048),
            ("R101", "resnet101", 2048),
        )
        for suffix, layers, frozen in (("", 3, False), ("_1LAYER", 1, False), ("_FROZEN", 3, True))
    },
}
# name -> F, mean of the first channel, interpolation
RECENT = {
    "DINOV2_B_VTN_FROZEN": (768, 0.485, "bicubic"),
    "SIGLIP2_B_VTN_FROZEN": (768, 0.5, "bicubic"),
    "EVA02_B_VTN_FROZEN": (768, 0.48145466, "bicubic"),
    "CONVNEXT_B_VTN_FROZEN": (1024, 0.485, "bicubic"),
}
# name -> model type with the sizes of the published weights, F, pixels, frames of a training clip, time steps
CLIPS = {
    "VJEPA2_L_VTN_FROZEN": ("hf:vjepa2", 1024, 256, 32, 16),
    "VJEPA21_B_VTN_FROZEN": ("vjepa2_1_vit_base_384", 768, 384, 32, 16),
    "VIDEOMAE_B_VTN_FROZEN": ("hf:videomae", 768, 224, 64, 32),
}
# name -> data set, classes, training videos of its first split
DATA_SETS = {
    "UCF101_FROZEN": ("ucf101", 101, 9537),
    "HMDB51_FROZEN": ("hmdb51", 51, 3570),
    "UCF101_FINETUNE": ("ucf101", 101, 9537),
}
TESTED_ELSEWHERE = (
    *("BASE_K400", "BASE_FROZEN"),
    *("QUICKSTART", "PRETRAINED_DEMO", "PRETRAINED_DEMO_PROBE", "SMALL_DATA"),
)


def test_each_recipe_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {
        *PAPER,
        *RECENT,
        *CLIPS,
        *DATA_SETS,
        *TESTED_ELSEWHERE,
    }


@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_of_the_paper_builds_its_model(name: str) -> None:
    backbone, width, layers, positions, frozen = PAPER[name]
    cfg = load_config(name, ["VTN.BACKBONE.PRETRAINED", "False"])
    with torch.device("meta"):
        model = build_model(cfg)
    assert backbone == cfg.VTN.BACKBONE.NAME
    assert (model.feature_dim, len(model.temporal_encoder.layers)) == (width, layers)
    assert positions == cfg.VTN.LONGFORMER.POSITION
    assert model.learns_features is not frozen
    assert attention_windows(cfg) == [18] * layers
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.SOLVER.MAX_EPOCH) == (1e-3, [0, 13, 24], 25)
    assert (cfg.TRAIN.EVAL_FULL_VIDEO, cfg.TRAIN.EVAL_NUM_FRAMES) == (True, 250)
    assert adopt_frame_format(cfg, model).DATA.TRAIN_CROP_SIZE == 224


@pytest.mark.parametrize("name", RECENT)
def test_a_recipe_with_a_recent_image_encoder_builds_its_model(name: str) -> None:
    """The backbone is frozen, with its authors' image format at 224 pixels; encoder and head are trained."""
    width, mean, interpolation = RECENT[name]
    cfg = load_config(name, ["VTN.BACKBONE.PRETRAINED", "False"])
    with torch.device("meta"):
        model = build_model(cfg)
        features = model.encode_frames(torch.zeros(1, 3, 1, 224, 224))
    assert features.shape == (1, 1, width)
    assert math.isclose(model.frame_mean[0], mean, abs_tol=1e-6)
    adopted = adopt_frame_format(cfg, model)
    assert (interpolation, "backbone") == (adopted.DATA.INTERPOLATION, adopted.DATA.NORMALIZATION)
    learning = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"cls_token", "temporal_encoder", "mlp_head"}


@pytest.mark.parametrize("name", CLIPS)
def test_a_recipe_with_a_clip_encoder_builds_its_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames and their rate are those of the encoder's training; encoder and head are trained."""
    # A table of positions that takes seconds to compute, and is not used.
    monkeypatch.setattr(
        "transformers.models.videomae.modeling_videomae.get_sinusoid_encoding_table",
        lambda count, width: torch.zeros(1, count, width),
    )
    backbone, width, pixels, frames, steps = CLIPS[name]
    # The model type has the sizes of the recipe's weights, whose configuration is on a hub.
    cfg = load_config(name, ["VTN.BACKBONE.PRETRAINED", "False", "VTN.BACKBONE.NAME", backbone])
    with torch.device("meta"):
        model = build_model(cfg)
        features = model.encode_frames(torch.zeros(1, 3, frames, pixels, pixels))
    assert features.shape == (1, steps, width)
    assert model.clip_grid is not None
    assert model.clip_grid.fps == cfg.DATA.TARGET_FPS / cfg.DATA.SAMPLING_RATE
    data = adopt_frame_format(cfg, model).DATA
    assert (pixels, pixels, frames) == (data.TRAIN_CROP_SIZE, data.TEST_CROP_SIZE, data.NUM_FRAMES)
    assert model.frame_size == pixels
    learning = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"cls_token", "temporal_encoder", "mlp_head"}


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_recipe_for_a_smaller_data_set_builds_its_model_and_has_enough_steps(name: str) -> None:
    dataset, classes, videos = DATA_SETS[name]
    cfg = load_config(name, ["VTN.BACKBONE.PRETRAINED", "False"])
    with torch.device("meta"):
        model = build_model(cfg)
    assert (cfg.TRAIN.DATASET, cfg.TEST.DATASET, model.num_classes) == (dataset, dataset, classes)
    assert model.learns_features is (name == "UCF101_FINETUNE")
    # SGD at the paper's rate needs more than 1,000 steps before the loss moves; the recipes do not use it.
    assert cfg.SOLVER.OPTIMIZING_METHOD == "adamw"
    assert videos // cfg.TRAIN.BATCH_SIZE * cfg.SOLVER.MAX_EPOCH > 4000
    adopted = adopt_frame_format(cfg, model).DATA
    assert adopted.TRAIN_CROP_SIZE == adopted.TEST_CROP_SIZE == 224


def test_the_rates_of_fine_tuning_fall_towards_the_input() -> None:
    cfg = load_config("UCF101_FINETUNE", ["VTN.BACKBONE.PRETRAINED", "False"])
    with torch.device("meta"):
        model = build_model(cfg)
        groups = build_optimizer(cfg, model).param_groups
    scales = [group["lr_scale"] for group in groups]
    assert max(scales) == 1.0
    assert min(scales) < 0.1


def test_groups_of_ucf101_are_its_source_videos() -> None:
    pattern = load_config("UCF101_FROZEN", ["VTN.BACKBONE.PRETRAINED", "False"]).TEST.GROUP_BY
    paths = [f"UCF-101/HandstandPushups/v_HandStandPushups_g{group:02d}_c01.avi" for group in (1, 1, 25)]
    assert groups_by_pattern(paths, pattern) == ["v_HandStandPushups_g01"] * 2 + ["v_HandStandPushups_g25"]
