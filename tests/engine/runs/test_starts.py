"""Starts of a run: from earlier checkpoints, from weights in a file, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from tests.support.run_results import metrics_of
from tests.support.tiny import tiny_config

LAST = "checkpoints/checkpoint_epoch_00003.pyth"


def test_a_run_with_a_changed_list_of_videos_is_not_resumed(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "val", "test"):
        (data / f"{split}.csv").write_text((colour_videos / f"{split}.csv").read_text())
    assert run(tiny_config(data, tmp_path / "out", "TRAIN.MAX_STEPS", 2, "TEST.ENABLE", False)) == 0
    lines = (data / "train.csv").read_text().splitlines()
    path, label = lines[3].rsplit(" ", 1)
    for changed in (lines[1:], [*lines[:3], f"{path} {(int(label) + 1) % 3}", *lines[4:]]):
        (data / "train.csv").write_text("\n".join(changed) + "\n")
        with pytest.raises(CheckpointError, match="another list of training videos"):
            run(tiny_config(data, tmp_path / "out"))


def test_a_run_starts_from_the_weights_or_the_state_in_a_file(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    options = ("TRAIN.CHECKPOINT_FILE_PATH", str(unbroken / LAST), "TEST.ENABLE", False)
    with pytest.raises(
        CheckpointError, match=r"nothing is left to train; set TRAIN.CHECKPOINT_EPOCH_RESET True"
    ):
        run(tiny_config(colour_videos, tmp_path / "a", *options))
    reset = (*options, "TRAIN.CHECKPOINT_EPOCH_RESET", True, "TRAIN.MAX_STEPS", 1)
    assert run(tiny_config(colour_videos, tmp_path / "b", *reset)) == 0
    assert metrics_of(tmp_path / "b", "train_iter")[0]["loss"] < 0.2
    assert run(tiny_config(colour_videos, tmp_path / "c", *options, "SOLVER.MAX_EPOCH", 4)) == 0
    assert [line["epoch"] for line in metrics_of(tmp_path / "c", "train_epoch")] == [4]


def test_the_weights_of_a_model_with_other_classes_start_a_run_without_its_head(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    weights = torch.load(unbroken / LAST, weights_only=True)["model_state"]
    weights["head.weight"], weights["head.bias"] = torch.ones(5, 16), torch.ones(5)
    torch.save({"model_state": weights}, tmp_path / "five.pyth")
    options = ("TRAIN.CHECKPOINT_FILE_PATH", str(tmp_path / "five.pyth"), "TEST.ENABLE", False)
    options += ("TRAIN.MAX_STEPS", 1, "SOLVER.BASE_LR", 1e-9)
    with pytest.raises(CheckpointError, match=r"TRAIN\.CHECKPOINT_RESET_HEAD True"):
        run(tiny_config(colour_videos, tmp_path / "a", *options))
    assert run(tiny_config(colour_videos, tmp_path / "b", *options, "TRAIN.CHECKPOINT_RESET_HEAD", True)) == 0
    (checkpoint,) = (tmp_path / "b" / "checkpoints").glob("*.pyth")
    trained = torch.load(checkpoint, weights_only=True)["model_state"]
    torch.testing.assert_close(trained["hidden.weight"], weights["hidden.weight"])


def test_without_auto_resume_earlier_checkpoints_are_moved(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False, "TRAIN.AUTO_RESUME", False)
    for _ in range(2):
        assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert len(metrics_of(tmp_path, "train_iter")) == 2
    assert sorted(path.name for path in tmp_path.glob("checkpoints*")) == ["checkpoints", "checkpoints.1"]


def test_a_changed_optimizer_is_refused_and_a_changed_learning_rate_is_logged(
    colour_videos: Path, tmp_path: Path
) -> None:
    short = ("TRAIN.MAX_STEPS", 2, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *short)) == 0
    with pytest.raises(CheckpointError, match=r"SOLVER.OPTIMIZING_METHOD: 'sgd' → 'adamw'"):
        run(tiny_config(colour_videos, tmp_path, *short, "SOLVER.OPTIMIZING_METHOD", "adamw"))
    assert run(tiny_config(colour_videos, tmp_path, *short, "SOLVER.BASE_LR", 0.01)) == 0
    assert (
        "changed since the checkpoint: SOLVER.BASE_LR: 0.05 → 0.01" in (tmp_path / "stdout.log").read_text()
    )
