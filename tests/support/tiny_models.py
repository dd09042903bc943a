"""Models of a few thousand weights, which are large enough to reveal mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from fvcore.common.config import CfgNode

from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import save_checkpoint
from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_evaluator
from slowfast.engine.run_model import build_seeded_model
from slowfast.interrupt import Interrupt
from slowfast.models.build import build_model
from slowfast.models.frame_format import adopt_frame_format
from slowfast.video.frame_times import FrameTimes
from tests.support.configs import load_changed
from tests.support.tiny import tiny_config
from vtn import VTN, AttentiveProbe, BackboneConfig, EncoderConfig, FrameAverage, HeadConfig
from vtn.backbones.frames.trial import without_training
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.publishing.publish import publish

FEATURE_DIM, SIZE, CLASSES = 24, 16, 5

# Arguments of VTN by flat names, so that a test can change single ones.
TINY: dict[str, Any] = {
    "num_classes": CLASSES,
    "hidden_dim": 32,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 48,
    "attention_window": 4,
    "mlp_dim": 16,
    "backbone_args": {"image_size": SIZE, "width": 4, "feature_dim": FEATURE_DIM},
}

# Changes to `tiny_config` for a VTN with a timm backbone.
SMALL_VTN = (
    "MODEL.MODEL_NAME", "VTN", "VTN.BACKBONE.NAME", "test_vit", "VTN.BACKBONE.PRETRAINED", False,
    "VTN.BACKBONE.ARGS", {"img_size": 32, "depth": 1}, "VTN.LONGFORMER.HIDDEN_DIM", 32,
    "VTN.LONGFORMER.NUM_HIDDEN_LAYERS", 2,
    "VTN.LONGFORMER.ATTENTION_WINDOW", [4, 4], "VTN.LONGFORMER.INTERMEDIATE_SIZE", 64,
    "VTN.LONGFORMER.NUM_ATTENTION_HEADS", 2, "VTN.HEAD.MLP_DIM", 16, "SOLVER.BASE_LR", 0.01,
    "SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.CLIP_GRAD_L2NORM", 1.0, "TRAIN.EVAL_FULL_VIDEO", True,
    "TEST.ENABLE", False, "TEST.NUM_ENSEMBLE_VIEWS", 1, "LOG_MODEL_INFO", False,
)  # fmt: skip
# Further changes, to a backbone of six blocks, whose scores differ more between frames without training.
ALL_BLOCKS = ("VTN.BACKBONE.ARGS", {"img_size": 32})
# Further changes, to a backbone whose programs start without timm and the compiler of torch.
SHALLOW = (
    "VTN.BACKBONE.NAME", "shallow_conv",
    "VTN.BACKBONE.ARGS", {"image_size": 32, "width": 4, "feature_dim": 24},
)  # fmt: skip
NO_DROPOUT = (
    "MODEL.DROPOUT_RATE", 0.0, "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB", 0.0,
    "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB", 0.0,
)  # fmt: skip

# Changes to VIT_B_VTN for runs of one epoch on small frames, which are also tested, with raw scores.
SMALL_RUN = (
    *SMALL_VTN, "VTN.BACKBONE.FROZEN", True, "MODEL.NUM_CLASSES", 3, "MODEL.HEAD_ACT", "none", "NUM_GPUS", 0,
    "DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 2, "DATA_LOADER.NUM_WORKERS", 0, "TRAIN.BATCH_SIZE", 2,
    "TEST.ENABLE", True, "TEST.BATCH_SIZE", 2, "TEST.NUM_SPATIAL_CROPS", 1, "SOLVER.MAX_EPOCH", 1,
)  # fmt: skip

# Files of a folder that `vtn publish` or `save_pretrained` writes; the last two are for transformers.
FOLDER_FILES = {
    *("model.safetensors", "config.json", "README.md"),
    *("video_preprocessor_config.json", "modeling_vtn.py"),
}

Model = TypeVar("Model", bound=FrameModel)


def tiny_groups() -> tuple[BackboneConfig, EncoderConfig, HeadConfig]:
    """Returns the groups of arguments that ``TINY`` describes."""
    backbone = BackboneConfig("shallow_conv", args=TINY["backbone_args"])
    encoder = EncoderConfig(
        hidden_dim=TINY["hidden_dim"],
        num_layers=TINY["num_layers"],
        num_heads=TINY["num_heads"],
        intermediate_size=TINY["intermediate_size"],
        attention_window=TINY["attention_window"],
    )
    return backbone, encoder, HeadConfig(mlp_dim=TINY["mlp_dim"])


def tiny(**changes: Any) -> VTN:
    """Returns a VTN in evaluation mode; ``changes`` are arguments by flat names."""
    return with_large_weights(VTN("shallow_conv", **{**TINY, **changes}))


def tiny_average(**changes: Any) -> FrameAverage:
    """Returns a FrameAverage in evaluation mode; ``changes`` are arguments by flat names."""
    arguments = {"num_classes": CLASSES, "mlp_dim": 16, "backbone_args": TINY["backbone_args"]}
    return with_large_weights(FrameAverage("shallow_conv", **{**arguments, **changes}))


def tiny_probe(**changes: Any) -> AttentiveProbe:
    """Returns an AttentiveProbe in evaluation mode; ``changes`` are arguments by flat names."""
    arguments = {
        "num_classes": CLASSES, "probe_hidden_dim": 32, "probe_num_blocks": 3, "probe_num_heads": 2,
        "backbone_args": TINY["backbone_args"],
    }  # fmt: skip
    return with_large_weights(AttentiveProbe("shallow_conv", **{**arguments, **changes}))


def with_large_weights(model: Model) -> Model:
    """Sets random weights in place and returns the model; initial weights are too small to show mistakes."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1 if parameter.ndim == 1 else 0))
    return model.eval()


CLASS_NAMES = ("left", "right", "still")


def trained_checkpoint(cfg: CfgNode, folder: Path) -> Path:
    """Writes a checkpoint of a model of three classes, as a training run does; returns its path."""
    with without_training():
        model: Any = with_large_weights(build_model(cfg, fetch_weights=False))
    with torch.no_grad():
        head = model.mlp_head[-1] if hasattr(model, "mlp_head") else model.classifier
        head.weight.mul_(5)  # so that videos have different scores
    progress = TrainingProgress(1, 0)
    state = TrainingState(
        progress, model.state_dict(), {}, {}, cfg.dump(), 1, 4, "f", class_names=CLASS_NAMES
    )
    return save_checkpoint(folder, state)


def small_run_config(data: Path, output: Path, size: int, *changes: Any) -> CfgNode:
    """Returns the configuration of a run of a small VTN with a frozen backbone on frames of ``size`` pixels.

    ``changes`` are further ``KEY, value`` pairs.
    """
    frames = (
        "DATA.TRAIN_JITTER_SCALES", [size, size], "DATA.TRAIN_CROP_SIZE", size, "DATA.TEST_CROP_SIZE", size,
        "DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", output,
    )  # fmt: skip
    return load_changed("VIT_B_VTN", *SMALL_RUN, *frames, *changes)


def scores_of_test_split(cfg: CfgNode) -> np.ndarray:
    """Returns the scores (V, K) of the test split, as the engine computes them; all videos must have some."""
    model: Any = build_seeded_model(cfg, World(), fetch_weights=True)
    evaluation = build_evaluator(adopt_frame_format(cfg, model), "test", model, World(), Interrupt()).run()
    assert evaluation is not None
    assert evaluation.broken == ()
    return evaluation.scores


def publish_folder(checkpoint: Path, output: Path) -> Path:
    """Publishes a checkpoint under the name TINY; returns the folder for the hub."""
    folder = publish(checkpoint, output, name="TINY").folder
    assert folder is not None
    return folder


def publish_tiny(folder: Path, *changes: Any) -> Path:
    """Publishes a VTN of three classes, which is tested on full videos; returns the folder for the hub.

    ``changes`` are further ``KEY, value`` pairs.
    """
    options = (*SMALL_VTN, *ALL_BLOCKS, "TRAIN.ENABLE", False, "DATA.TARGET_FPS", 10)
    cfg = tiny_config(folder, folder / "run", *options, *changes)
    return publish_folder(trained_checkpoint(cfg, folder / "run"), folder)


def video_features(num_frames: int, fps: float = 5.0, seed: int = 0, step: int = 5) -> VideoFeatures:
    """Returns random features of ``num_frames`` frames, every ``step``-th frame of the source video."""
    features = torch.randn(num_frames, FEATURE_DIM, generator=torch.Generator().manual_seed(seed))
    times = FrameTimes(np.arange(num_frames) / fps, num_frames / fps)
    return VideoFeatures(features, times, np.arange(num_frames, dtype=np.int64) * step)


def random_clips(B: int = 2, T: int = 6) -> torch.Tensor:
    """Returns frames (B, 3, T, 16, 16) with the same random values for the same arguments."""
    return torch.randn(B, 3, T, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def random_features(T: int = 6) -> torch.Tensor:
    """Returns features (2, T, 24) with the same random values for the same T."""
    return torch.randn(2, T, FEATURE_DIM, generator=torch.Generator().manual_seed(0))
