"""Runs with averaged weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slowfast.checkpoint.restore import restore_average
from slowfast.checkpoint.resume import start_from_file
from slowfast.checkpoint.state import TrainingProgress
from slowfast.checkpoint.storage import read_checkpoint, read_training_state
from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from slowfast.solver.ema import WeightAverage
from tests.support.processes import run_forked
from tests.support.run_results import assert_same_end, log_of, metrics_of, run_nodes
from tests.support.tiny import tiny_config

AVERAGE = ("MODEL_EMA.ENABLE", True, "MODEL_EMA.DECAY", 0.9)


@pytest.mark.parametrize("size", [1, 2])
def test_averaged_weights_are_resumed_bit_by_bit(colour_videos: Path, tmp_path: Path, size: int) -> None:
    options = (*AVERAGE, "TEST.ENABLE", False, "TRAIN.BATCH_SIZE", 4 // size)
    assert run_nodes(size, colour_videos, tmp_path / "unbroken", *options) == [0] * size
    for steps in (8, 0):
        stop = ("TRAIN.MAX_STEPS", steps)
        assert run_nodes(size, colour_videos, tmp_path / "stopped", *options, *stop) == [0] * size
    assert_same_end(tmp_path / "unbroken", tmp_path / "stopped")
    end = read_checkpoint(tmp_path / "stopped" / "checkpoints" / "checkpoint_epoch_00003.pyth")
    assert end["ema_state"]["updates"] == 18
    assert not torch.equal(end["ema_state"]["weights"]["head.weight"], end["model_state"]["head.weight"])


def test_averaged_weights_are_evaluated_unless_the_configuration_says_otherwise(
    colour_videos: Path, tmp_path: Path
) -> None:
    found = {}
    for name, options in (
        ("none", ()),
        ("averaged", (*AVERAGE, "MODEL_EMA.DECAY", 0.999999)),
        ("ordinary", (*AVERAGE, "MODEL_EMA.EVALUATE", False)),
    ):
        options = ("MODEL.DROPOUT_RATE", 0.0, "SOLVER.MAX_EPOCH", 1, *options)
        assert run_forked(run, tiny_config(colour_videos, tmp_path / name, *options)) == 0
        found[name] = (
            metrics_of(tmp_path / name, "val_epoch")[0]["loss"],
            metrics_of(tmp_path / name, "test_final")[0]["top1_acc"],
        )
    assert found["ordinary"] == found["none"]
    # With this decay the average is hardly changed: it is as good as the untrained model.
    assert found["averaged"][0] > found["none"][0] + 0.2
    assert found["averaged"][1] < found["none"][1]
    assert "loading the averaged weights" in log_of(tmp_path / "averaged")


@pytest.mark.parametrize(
    ("saved", "problem"),
    [
        ({"weight": torch.zeros(3)}, "of bias are only in one of the two, the file and this run"),
        (
            {"weight": torch.zeros(3), "bias": torch.zeros(3)},
            "of weight have other shapes than those of this",
        ),
    ],
)
def test_averaged_weights_of_another_model_are_refused(saved: dict[str, torch.Tensor], problem: str) -> None:
    average = WeightAverage(torch.nn.Linear(2, 3), decay=0.5)
    with pytest.raises(CheckpointError, match=rf"a\.pyth: its averaged weights {problem}.*MODEL_EMA"):
        restore_average(average, {"updates": 3, "weights": saved}, source=Path("a.pyth"))


def test_the_average_of_a_run_that_starts_from_weights_starts_with_them(tmp_path: Path) -> None:
    model, trained = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    torch.save({"model_state": trained.state_dict()}, tmp_path / "weights.pyth")
    run: Any = SimpleNamespace(model=model, average=WeightAverage(model, decay=0.5))
    path = str(tmp_path / "weights.pyth")
    start_from_file(run, path, read_training_state(path), reset_head=False, end=TrainingProgress(3))
    torch.testing.assert_close(
        run.average.state_dict()["weights"], dict(trained.state_dict()), rtol=0, atol=0
    )
