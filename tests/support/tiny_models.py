"""Models of a few thousand weights, which are large enough to reveal mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from fvcore.common.config import CfgNode

from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import save_checkpoint
from slowfast.models.build import build_model
from slowfast.video.frame_times import FrameTimes
from vtn import VTN, AttentiveProbe, BackboneConfig, EncoderConfig, FrameAverage, HeadConfig
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures

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
    "VTN.BACKBONE.ARGS", {"img_size": 32}, "VTN.LONGFORMER.HIDDEN_DIM", 32,
    "VTN.LONGFORMER.NUM_HIDDEN_LAYERS", 2,
    "VTN.LONGFORMER.ATTENTION_WINDOW", [4, 4], "VTN.LONGFORMER.INTERMEDIATE_SIZE", 64,
    "VTN.LONGFORMER.NUM_ATTENTION_HEADS", 2, "VTN.HEAD.MLP_DIM", 16, "SOLVER.BASE_LR", 0.01,
    "SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.CLIP_GRAD_L2NORM", 1.0, "TRAIN.EVAL_FULL_VIDEO", True,
    "TEST.ENABLE", False, "TEST.NUM_ENSEMBLE_VIEWS", 1, "LOG_MODEL_INFO", False,
)  # fmt: skip
NO_DROPOUT = (
    "MODEL.DROPOUT_RATE", 0.0, "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB", 0.0,
    "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB", 0.0,
)  # fmt: skip

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
    model: Any = with_large_weights(build_model(cfg, fetch_weights=False))
    with torch.no_grad():
        head = model.mlp_head[-1] if hasattr(model, "mlp_head") else model.classifier
        head.weight.mul_(5)  # so that videos have different scores
    progress = TrainingProgress(1, 0)
    state = TrainingState(
        progress, model.state_dict(), {}, {}, cfg.dump(), 1, 4, "f", class_names=CLASS_NAMES
    )
    return save_checkpoint(folder, state)


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
