"""Candidates of a search on cached features: VTN and FrameAverage for some hundred videos.

F width of a feature, M tokens of a frame.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.probe.candidate import Candidate, Change
from vtn.config import MODEL_NAMES

SHARED: tuple[Change, ...] = (
    ("SOLVER.OPTIMIZING_METHOD", "adamw"),
    ("SOLVER.ZERO_WD_1D_PARAM", True),
    ("SOLVER.LR_POLICY", "cosine"),
    ("SOLVER.WARMUP_START_LR", 1e-5),
    ("SOLVER.COSINE_END_LR", 1e-6),
    ("SOLVER.CLIP_GRAD_L2NORM", 1.0),
    ("TRAIN.FULL_VIDEO", True),
    ("TRAIN.EVAL_FULL_VIDEO", True),
    ("MODEL.LOSS_FUNC", "cross_entropy"),
    ("VTN.BACKBONE.FROZEN", True),
    ("VTN.BACKBONE.FROZEN_BLOCKS", 0),
    ("VTN.BACKBONE.LEARNING_NORMS", False),
)
"""Changes of every candidate: AdamW with a cosine, frames spread over the whole video, cached features."""

STEPS = 300
"""Steps of a training; the number of epochs follows from it, within ``EPOCHS``."""
EPOCHS = (20, 150)
_BATCH_SIZES = (8, 16)

GRID: Mapping[str, Sequence[Any]] = MappingProxyType(
    {
        "SOLVER.BASE_LR": (1e-3, 5e-4, 2e-3),
        "SOLVER.WEIGHT_DECAY": (0.05, 0.3),
        "DATA.NUM_FRAMES": (16, 8, 32),
        "MODEL.DROPOUT_RATE": (0.3, 0.1, 0.5),
        "VTN.INPUT.DROPOUT": (0.3, 0.0, 0.5),
        "VTN.INPUT.STANDARDIZE": (True, False),
    }
)
"""Values of the search for both models, the most promising one first."""

VTN_GRID: Mapping[str, Sequence[Any]] = MappingProxyType(
    {
        "VTN.LONGFORMER.HIDDEN_DIM": (128, 64),
        "VTN.LONGFORMER.NUM_HIDDEN_LAYERS": (1, 2),
        "VTN.LONGFORMER.ATTENTION_WINDOW": ([18], [6]),
        "VTN.INPUT.DIFFERENCES": (True, False),
        "VTN.HEAD.POOLING": ("cls+mean+std", "cls"),
        "VTN.HEAD.SKIP": (True, False),
    }
)
"""Further values of VTN."""

TOKEN_GRID: Mapping[str, Sequence[Any]] = MappingProxyType(
    {"VTN.FUSION": ("concat", "attend"), "VTN.FUSION_DIM": (16, 32)}
)
"""Further values where a frame has several tokens."""

# One token has nothing to fuse; a width would be a bottleneck.
NO_TOKENS: Mapping[str, Sequence[Any]] = MappingProxyType({"VTN.FUSION_DIM": (0,)})

SKIP_FACTOR = 0.1
"""Factor of the learning rate of the skip, which would otherwise fit few videos before the encoder learns."""

# Fraction of the candidates that are FrameAverage.
_AVERAGES = 0.2


def accepts(cfg: CfgNode) -> bool:
    """Returns whether the configured model is one of this project."""
    return cfg.MODEL.MODEL_NAME in MODEL_NAMES


def candidates(
    cfg: CfgNode, *, row_shape: tuple[int, ...], num_videos: int, limit: int
) -> Sequence[Candidate]:
    """Returns at most ``limit`` candidates, a fifth of them FrameAverage.

    The first candidate of a model has the first value of each key. The next ones change one key each, and
    the others are drawn with a fixed seed, so that equal arguments give equal candidates.

    Args:
        row_shape: (F,) or (M, F).
        num_videos: videos that a training sees; few videos get a smaller batch and more epochs.
    """
    batch = _BATCH_SIZES[0] if num_videos < 4 * _BATCH_SIZES[1] else _BATCH_SIZES[1]
    epochs = min(max(round(STEPS / max(1, num_videos // batch)), EPOCHS[0]), EPOCHS[1])
    schedule = {
        "TRAIN.BATCH_SIZE": min(batch, num_videos),
        "SOLVER.MAX_EPOCH": epochs,
        "SOLVER.WARMUP_EPOCHS": epochs / 20,
    }
    tokens = TOKEN_GRID if len(row_shape) == 2 else NO_TOKENS
    averages = max(1, round(_AVERAGES * limit)) if limit > 1 else 0
    found = _draw("VTN", {**GRID, **VTN_GRID, **tokens}, schedule, limit - averages)
    return [*found, *_draw("FrameAverage", {**GRID, **tokens}, schedule, averages)]


def without_frame_encoder(cfg: CfgNode, *, feature_dim: int) -> Sequence[Change]:
    """Returns changes by which the backbone is a placeholder of width F."""
    return (
        ("VTN.BACKBONE.NAME", "precomputed"),
        ("VTN.BACKBONE.ARGS", {"feature_dim": feature_dim}),
        ("VTN.BACKBONE.PRETRAINED", False),
        ("VTN.BACKBONE.CHECKPOINT", ""),
    )


def _draw(
    model: str, grid: Mapping[str, Sequence[Any]], schedule: Mapping[str, Any], limit: int
) -> list[Candidate]:
    """Returns ``limit`` different candidates of a model, or all there are."""
    first = {key: values[0] for key, values in grid.items()}
    near = [{**first, key: value} for key, values in grid.items() for value in values[1:]]
    settings = [first, *near]
    rng = random.Random(model)
    total = math.prod(map(len, grid.values()))
    while len(settings) < min(limit, total):
        drawn = {key: rng.choice(values) for key, values in grid.items()}
        if drawn not in settings:
            settings.append(drawn)
    return [
        Candidate(
            model,
            _changes(model, {**schedule, **setting}),
            tuple(key for key, value in setting.items() if value != first[key]),
        )
        for setting in settings[:limit]
    ]


def _changes(model: str, setting: Mapping[str, Any]) -> tuple[Change, ...]:
    """Returns all changes of a setting, with the keys that follow from others."""
    changes = dict(SHARED) | {"MODEL.MODEL_NAME": model} | dict(setting)
    changes["TRAIN.EVAL_NUM_FRAMES"] = setting["DATA.NUM_FRAMES"]
    changes["SOLVER.LR_FACTORS"] = {"statistics_skip": SKIP_FACTOR} if setting.get("VTN.HEAD.SKIP") else {}
    if model == "VTN":
        width = setting["VTN.LONGFORMER.HIDDEN_DIM"]
        changes |= {
            "VTN.LONGFORMER.NUM_ATTENTION_HEADS": 4,
            "VTN.LONGFORMER.INTERMEDIATE_SIZE": 2 * width,
            "VTN.LONGFORMER.POSITION": "sinusoidal",
            "VTN.LONGFORMER.POSITION_UNIT": "second",
            "VTN.HEAD.MLP_DIM": width,
        }
    else:
        changes |= {
            "VTN.HEAD.MLP_DIM": 64,
            "VTN.INPUT.DIFFERENCES": False,
            "VTN.HEAD.POOLING": "cls",
            "VTN.HEAD.SKIP": False,
        }
    return tuple(changes.items())
