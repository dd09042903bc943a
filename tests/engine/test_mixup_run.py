"""Runs with mixup and augmentation: one process or two take the same steps; evaluation uses neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.run_results import metrics_of, train_distributed

MIXED = (
    *("MODEL.DROPOUT_RATE", 0.0, "MIXUP.ENABLE", True),
    *("AUG.ENABLE", True, "AUG.NUM_SAMPLE", 2, "SOLVER.MAX_EPOCH", 2, "TEST.ENABLE", False),
)


@pytest.mark.parametrize("loss", ["soft_cross_entropy", "bce_logit"])
def test_two_processes_mix_and_augment_like_one(colour_videos: Path, tmp_path: Path, loss: str) -> None:
    mixed = (*MIXED, "MODEL.LOSS_FUNC", loss)
    train_distributed(1, colour_videos, tmp_path / "one", *mixed)
    train_distributed(2, colour_videos, tmp_path / "two", *mixed)
    one, two = (metrics_of(tmp_path / name, "train_iter") for name in ("one", "two"))
    assert len(one) == 12
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    # Validation does not mix classes, so its errors can be counted.
    assert all("top1_err" in line for line in metrics_of(tmp_path / "one", "val_epoch"))
