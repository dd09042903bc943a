"""Training with class weights, logit adjustment and label smoothing, through the whole engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.engine.run import run
from tests.support.run_results import metrics_of
from tests.support.tiny import tiny_config


def test_a_run_learns_with_a_changed_loss_and_validates_with_the_plain_one(
    colour_videos: Path, tmp_path: Path
) -> None:
    plain = ("TEST.ENABLE", False, "SOLVER.BASE_LR", 1e-9, "TRAIN.MAX_STEPS", 2)
    changed = ("LOSS.CLASS_WEIGHTS", "balanced", "LOSS.LABEL_SMOOTHING", 0.2, "LOSS.LOGIT_ADJUSTMENT", 1.0)
    assert run(tiny_config(colour_videos, tmp_path / "a", *plain)) == 0
    assert run(tiny_config(colour_videos, tmp_path / "b", *plain, *changed)) == 0
    assert "class weights (balanced)" in (tmp_path / "b" / "stdout.log").read_text()
    (one,), (other,) = (metrics_of(tmp_path / name, "val_epoch") for name in "ab")
    assert other["loss"] == pytest.approx(one["loss"], abs=1e-6)
    train = [metrics_of(tmp_path / name, "train_iter")[0]["loss"] for name in "ab"]
    assert train[0] != pytest.approx(train[1], abs=1e-4)


def test_a_run_with_weights_and_micro_batches_learns(colour_videos: Path, tmp_path: Path) -> None:
    changes = ("MODEL.LOSS_FUNC", "focal", "LOSS.CLASS_WEIGHTS", "effective_number", "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *changes, "TRAIN.GRAD_ACCUM_STEPS", 2)) == 0
    assert metrics_of(tmp_path, "val_epoch")[-1]["top1_err"] < 20
