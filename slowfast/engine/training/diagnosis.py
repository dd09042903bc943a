"""Building of the hint about a training whose loss does not move, from a configuration."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.datasets.clip import Batch, Normalization
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.distributed.world import World
from slowfast.engine.training.schedule import Schedule
from slowfast.engine.training.stall import StallDetector
from slowfast.errors import InputError, first_line
from slowfast.models.capabilities import DescribesStates, FrameByFrameModel, clip_grid_of
from slowfast.models.frame_format import frame_normalization

# Clips that are measured, which bounds memory.
_MEASURED_CLIPS = 16
# Fraction of a training within which its loss should move; a long one is given more steps than a short one.
_EARLY = 0.05
# Learning rate at which an advised warm-up starts, as a fraction of SOLVER.BASE_LR.
_START = 0.01


def build_stall_detector(
    cfg: CfgNode,
    model: nn.Module,
    dataset: ViewDataset,
    world: World,
    schedule: Schedule,
    *,
    is_sharded: bool,
    starts_new: bool,
) -> StallDetector:
    """Builds the detector of a loss that does not move; it does nothing on other ranks than 0.

    Args:
        model: on the device of ``world``.
        dataset: the training set.
        is_sharded: whether rank 0 has only a part of the weights; the model is then not measured.
        starts_new: whether the training starts at its first step.
    """
    normalization = frame_normalization(cfg, model)
    has_features = dataset.features is not None

    def describe(batch: Batch) -> Sequence[str]:
        if is_sharded:
            return ()
        return _measure(model, batch, world.device, normalization, has_features=has_features)

    labels = dataset.labels
    steps = cfg.TRAIN.STALL_STEPS
    is_active = steps > 0 and world.is_main
    return StallDetector(
        max(steps, round(_EARLY * schedule.steps_to(schedule.end))) if is_active else 0,
        first_check=round(cfg.SOLVER.WARMUP_EPOCHS * schedule.steps_per_epoch),
        chance=float(np.bincount(labels).max() / len(labels)) if labels.ndim == 1 else 1.0,
        starts_new=starts_new,
        describe=describe,
        advice=_advise(
            cfg.SOLVER.OPTIMIZING_METHOD, cfg.SOLVER.BASE_LR, warms_up=cfg.SOLVER.WARMUP_EPOCHS > 0
        ),
    )


@torch.no_grad()
def _measure(
    model: Any, batch: Batch, device: torch.device, normalization: Normalization, *, has_features: bool
) -> Sequence[str]:
    """Returns the measurements of a model that describes its states; the model is left as it was."""
    if not (isinstance(model, DescribesStates) and isinstance(model, FrameByFrameModel)):
        return ()
    # The states of a clip encoder have other positions than its frames.
    if batch.num_clips < 2 or not (has_features or clip_grid_of(model) is None):
        return ()
    clips = batch.map_tensors(operator.itemgetter(slice(_MEASURED_CLIPS))).to(device)
    network: Any = model
    was_training = network.training
    network.eval()
    try:
        inputs = clips.inputs(normalization)
        features = inputs if has_features else model.encode_frames(inputs)
        return model.describe_states(features, clips.positions, clips.mask)
    except (InputError, RuntimeError) as error:  # a hint must not end a run
        return (f"the states could not be measured ({first_line(error)})",)
    finally:
        network.train(was_training)


def _advise(method: str, base_lr: float, *, warms_up: bool) -> str:
    """Returns the end of the hint; its values can be set as they are written."""
    if method == "sgd":
        start = f", SOLVER.WARMUP_START_LR {_START * 0.0005:g}" if warms_up else ""
        return (
            f"SGD with SOLVER.BASE_LR {base_lr:g} needs many steps for a temporal encoder that starts from "
            f"random weights; use SOLVER.OPTIMIZING_METHOD adamw with SOLVER.BASE_LR 0.0005{start}, or a "
            "higher rate and more epochs"
        )
    return (
        f"Try another SOLVER.BASE_LR than {base_lr:g}, a warm-up (SOLVER.WARMUP_EPOCHS 0.5 with "
        f"SOLVER.WARMUP_START_LR {_START * base_lr:g}) and SOLVER.CLIP_GRAD_L2NORM 1.0; check that labels "
        "belong to their videos"
    )
