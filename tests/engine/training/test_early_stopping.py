"""Early stopping and the best checkpoint in whole runs: interrupted, resumed, and on several processes."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from slowfast.checkpoint.storage import list_checkpoints, read_training_state
from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from tests.support.processes import run_forked
from tests.support.run_results import assert_same_end, metrics_of, run_with_signal, train_distributed
from tests.support.tiny import tiny_config

# At this learning rate nothing changes: the second and third validation improve nothing.
STUCK = (
    "SOLVER.BASE_LR", 1e-12, "SOLVER.MAX_EPOCH", 9, "TRAIN.PATIENCE", 2, "TRAIN.CHECKPOINT_PERIOD", 9,
    "TEST.ENABLE", False, "MODEL.DROPOUT_RATE", 0.0,
)  # fmt: skip
LAST = "checkpoint_epoch_00003.pyth"


def saved(folder: Path) -> list[int]:
    """Returns the epochs of the checkpoints in a run's folder."""
    return sorted(progress.epoch for progress, _ in list_checkpoints(folder))


@pytest.fixture(scope="module")
def stuck(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run without progress and without interruption."""
    output = tmp_path_factory.mktemp("stuck")
    assert run_forked(run, tiny_config(colour_videos, output, *STUCK)) == 0
    return output


def test_a_run_without_progress_ends_and_saves_its_best_and_last_state(
    stuck: Path, colour_videos: Path, tmp_path: Path
) -> None:
    shutil.copytree(stuck, tmp_path, dirs_exist_ok=True)
    assert len(metrics_of(tmp_path, "val_epoch")) == 3
    assert saved(tmp_path) == [1, 3]
    log = (tmp_path / "stdout.log").read_text()
    assert "ended early at the end of epoch 3, after 2 validations without improvement" in log
    assert "at the end of epoch 1" in log
    assert log.count("differences below") == 1, "a small validation is warned about"
    # The same command finds that nothing is left to do; more patience continues.
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *STUCK)) == 0
    assert len(metrics_of(tmp_path, "val_epoch")) == 3
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *STUCK, "TRAIN.PATIENCE", 3)) == 0
    assert len(metrics_of(tmp_path, "val_epoch")) == 4


@pytest.mark.parametrize("step", [3, 8, 15])
def test_an_interrupted_run_ends_where_the_unbroken_one_does(
    stuck: Path, colour_videos: Path, tmp_path: Path, step: int
) -> None:
    cfg = tiny_config(colour_videos, tmp_path, *STUCK)
    assert run_forked(run_with_signal, cfg, signal.SIGTERM, step) == 143
    assert run_forked(run, cfg) == 0
    assert saved(tmp_path)[-1] == 3
    assert_same_end(stuck, tmp_path, LAST)
    one, other = (read_training_state(output / "checkpoints" / LAST) for output in (stuck, tmp_path))
    assert one.selection_state == other.selection_state


def test_several_processes_end_together(colour_videos: Path, tmp_path: Path) -> None:
    train_distributed(2, colour_videos, tmp_path, *STUCK)
    assert len(metrics_of(tmp_path, "val_epoch")) == 3
    assert saved(tmp_path) == [1, 3]


def weights_of_test(folder: Path) -> str:
    """Returns the name of the checkpoint that the last test of a run used."""
    lines = (folder / "stdout.log").read_text().splitlines()
    return Path([line for line in lines if "testing " in line][-1].partition("testing ")[2]).name


@pytest.mark.parametrize(("weights", "name"), [("best", "checkpoint_epoch_00001.pyth"), ("last", LAST)])
def test_the_best_or_the_last_weights_are_tested(
    colour_videos: Path, tmp_path: Path, weights: str, name: str
) -> None:
    options: tuple[Any, ...] = (*STUCK, "TEST.ENABLE", True, "TEST.WEIGHTS", weights)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert weights_of_test(tmp_path) == name


def test_the_best_checkpoint_is_kept_by_its_metric(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TRAIN.BEST_METRIC", "loss", "TRAIN.KEEP_CHECKPOINTS", 2, "SOLVER.MAX_EPOCH", 6)
    growing = ("SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.STEPS", [0, 2], "SOLVER.LRS", [1, 1e3])
    assert run(tiny_config(colour_videos, tmp_path, *options, *growing, "TEST.WEIGHTS", "best")) == 0
    losses = [line["loss"] for line in metrics_of(tmp_path, "val_epoch")]
    best = min(range(6), key=losses.__getitem__) + 1
    assert best < 5  # the loss explodes in epoch 3
    assert saved(tmp_path) == [best, 5, 6]
    assert weights_of_test(tmp_path) == f"checkpoint_epoch_{best:05d}.pyth"


def test_the_best_weights_need_a_validation(colour_videos: Path, tmp_path: Path) -> None:
    assert run(tiny_config(colour_videos, tmp_path, "TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 1)) == 0
    for file in (tmp_path / "checkpoints").glob("*.json"):
        file.unlink()
    with pytest.raises(CheckpointError, match="has no validated checkpoint"):
        run(tiny_config(colour_videos, tmp_path, "TRAIN.ENABLE", False, "TEST.WEIGHTS", "best"))
