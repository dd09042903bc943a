"""Runs of a small VTN: with several processes, resumed, with a frozen backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slowfast.engine.run import run
from slowfast.models.build import MODEL_REGISTRY
from tests.support.processes import run_forked
from tests.support.run_results import assert_same_end, metrics_of
from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN
from vtn import VTN

pytestmark = pytest.mark.usefixtures("projects_imported")


@MODEL_REGISTRY.register("VTNWithCopy")
class VTNWithCopy(VTN):
    """A VTN that is trained with a prepared copy of its backbone only."""

    def encode_frames(self, *given: Any) -> Tensor:
        assert self._frozen_encoding is not None or not (self.training and torch.is_grad_enabled())
        return super().encode_frames(*given)


def test_a_frozen_backbone_encodes_by_a_copy_also_when_resumed(colour_videos: Path, tmp_path: Path) -> None:
    options: tuple[Any, ...] = (
        *SMALL_VTN, "MODEL.MODEL_NAME", "VTNWithCopy", "VTN.BACKBONE.NAME", "test_byobnet",
        "VTN.BACKBONE.ARGS", {}, "VTN.BACKBONE.FROZEN", True,
        "TRAIN.PRECISION", "bfloat16", "SOLVER.MAX_EPOCH", 2,
    )  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_forked(run, tiny_config(colour_videos, whole, *options)) == 0
    for steps in (1, 0):
        assert run_forked(run, tiny_config(colour_videos, parts, *options, "TRAIN.MAX_STEPS", steps)) == 0
    log = (parts / "stdout.log").read_text()
    assert log.count("frozen backbone: encoded by a prepared copy in bfloat16") == 2
    assert_same_end(parts, whole, last="checkpoint_epoch_00002.pyth")


@MODEL_REGISTRY.register("VTNWithNaN")
class VTNWithNaN(VTN):
    """Its backbone returns NaN in the second training step."""

    steps = 0

    def encode_frames(self, *given: Any) -> Tensor:
        self.steps += self.training
        features = super().encode_frames(*given)
        return features * float("nan") if self.training and self.steps == 2 else features


def test_a_step_with_nan_features_is_skipped(colour_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(
        colour_videos, tmp_path, *SMALL_VTN, "MODEL.MODEL_NAME", "VTNWithNaN", "TRAIN.MAX_STEPS", 4
    )
    assert run_forked(run, cfg) == 0
    log = (tmp_path / "stdout.log").read_text()
    assert "skipped: step 2 of epoch 1 has loss nan" in log
    assert log.count("skipped:") == 1
    assert metrics_of(tmp_path, "val_epoch")[0]["videos"] == 7


def test_it_can_be_trained_with_deterministic_algorithms(colour_videos: Path, tmp_path: Path) -> None:
    options = (*SMALL_VTN, "DETERMINISTIC", True, "TRAIN.MAX_STEPS", 2, "TRAIN.GRAD_ACCUM_STEPS", 2)
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *options)) == 0
