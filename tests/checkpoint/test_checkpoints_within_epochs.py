"""Checkpoints within an epoch, and what a resumed run finds in them."""

from __future__ import annotations

from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from slowfast.checkpoint.state import TrainingProgress
from slowfast.checkpoint.storage import checkpoint_path, last_checkpoint, record_validation
from slowfast.engine.run import run
from tests.support.processes import run_forked
from tests.support.run_results import NO_DROPOUT_OR_TEST, log_of, metrics_of
from tests.support.tiny import tiny_config


def test_checkpoints_are_written_every_few_steps(colour_videos: Path, tmp_path: Path) -> None:
    options = (*NO_DROPOUT_OR_TEST, "TRAIN.CHECKPOINT_STEPS", 4, "TRAIN.MAX_STEPS", 11)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    saved = [
        Path(word).name
        for line in log_of(tmp_path).splitlines()
        if ": saved " in line
        for word in line.split()
        if word.endswith(".pyth")
    ]
    assert saved == [
        "checkpoint_epoch_00000_step_000004.pyth",
        "checkpoint_epoch_00001.pyth",
        "checkpoint_epoch_00001_step_000002.pyth",
        "checkpoint_epoch_00001_step_000005.pyth",
    ]


def test_the_lowest_errors_of_a_resumed_run_are_those_of_the_whole_run(
    colour_videos: Path, stopped: Path
) -> None:
    """The file of the validation before the stop names an error that no later validation can reach."""
    last = last_checkpoint(stopped)
    assert last is not None
    record_validation(last, {"top1_err": -1.0, "top5_err": -1.0, "videos": 7})
    assert run(tiny_config(colour_videos, stopped, *NO_DROPOUT_OR_TEST, "TRAIN.MAX_STEPS", 8)) == 0
    assert run(tiny_config(colour_videos, stopped, *NO_DROPOUT_OR_TEST, "TRAIN.MAX_STEPS", 14)) == 0
    validations = metrics_of(stopped, "val_epoch")[1:]
    assert len(validations) > 2
    assert [line["min_top1_err"] for line in validations] == [-1.0] * len(validations)


def test_the_highest_top_1_is_that_of_comparable_validations(colour_videos: Path, tmp_path: Path) -> None:
    """A disk that is lost for a minute leaves the scores of a few videos, which may all be right."""
    options = (*NO_DROPOUT_OR_TEST, "TRAIN.MAX_STEPS")
    assert run(tiny_config(colour_videos, tmp_path, *options, 6)) == 0
    last = last_checkpoint(tmp_path)
    assert last is not None
    record_validation(last, {"top1_err": 50.0, "top5_err": 0.0, "videos": 7, "broken_videos": 0})
    found, *lost = (colour_videos / "val.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text((colour_videos / "train.csv").read_text())
    (tmp_path / "val.csv").write_text("\n".join([found, *(f"missing_{line}" for line in lost)]))
    assert run(tiny_config(tmp_path, tmp_path, *options, 18)) == 0
    (_, *incomplete) = metrics_of(tmp_path, "val_epoch")
    assert {line["videos"] for line in incomplete} == {1}
    assert {line["min_top1_err"] for line in incomplete} == {50.0}
    assert "over 1 video; highest top-1 so far 50.00 %" in log_of(tmp_path)


def test_damaged_later_checkpoints_do_not_replace_the_new_ones(colour_videos: Path, tmp_path: Path) -> None:
    """They would be the two latest, which are kept, and each new one would be deleted."""
    assert run(tiny_config(colour_videos, tmp_path, *NO_DROPOUT_OR_TEST, "TRAIN.MAX_STEPS", 6)) == 0
    intact = checkpoint_path(tmp_path, TrainingProgress(1)).read_bytes()
    for step in (4, 5):
        checkpoint_path(tmp_path, TrainingProgress(1, step)).write_bytes(intact[:200])
    assert run(tiny_config(colour_videos, tmp_path, *NO_DROPOUT_OR_TEST, "TRAIN.MAX_STEPS", 9)) == 0
    assert last_checkpoint(tmp_path) == checkpoint_path(tmp_path, TrainingProgress(1, 3))


def test_a_deterministic_run_uses_deterministic_algorithms(colour_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(
        colour_videos, tmp_path, *NO_DROPOUT_OR_TEST, "DETERMINISTIC", True, "TRAIN.MAX_STEPS", 2
    )
    assert run_forked(_is_deterministic, cfg) == 0


def _is_deterministic(cfg: CfgNode) -> int:
    return run(cfg) or int(not torch.are_deterministic_algorithms_enabled())
