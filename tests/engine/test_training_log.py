"""Log lines about the speed of training, and the curves of trackers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from slowfast.engine.run import run
from slowfast.engine.training.training_log import describe_epoch, describe_validation
from slowfast.log import CountOf
from tests.support.run_results import metrics_of
from tests.support.tiny import tiny_config


def test_the_line_of_an_epoch_gives_no_advice() -> None:
    """That is in the line on the headroom, once per run and from measured times."""
    line = describe_epoch(1, 2, {"loss": 1.0, "dt": 1.0, "dt_data": 0.5})
    assert line == "epoch 1/2: loss 1.0000, 1 s per step, 50% of it waiting for data"


def test_the_line_of_a_validation_has_the_best_one_so_far() -> None:
    metrics = {"loss": 0.5, "top1_err": 25.0, "videos": 4}
    line = describe_validation(CountOf(2, 6), metrics, {"top1_err": 12.5})
    assert line == (
        "validation in epoch 2/6: loss 0.5000, top-1 75.00 % over 4 videos; highest top-1 so far 87.50 %"
    )
    line = describe_validation(CountOf(1, 6), {"loss": float("nan"), "map": 0.25, "videos": 1}, {})
    assert line == "validation in epoch 1/6: mAP 0.2500 over 1 video"


@pytest.mark.parametrize(("period", "steps"), [(10, [6, 12]), (4, [4, 6, 10, 12])])
def test_trackers_get_the_steps_at_the_end_of_an_epoch_too(
    colour_videos: Path, tmp_path: Path, period: int, steps: list[int]
) -> None:
    """An epoch of six steps may be shorter than LOG_PERIOD; the lines in the log stay as they are."""
    options = ("TRACKERS", ("tensorboard",), "LOG_PERIOD", period, "SOLVER.MAX_EPOCH", 2)
    assert run(tiny_config(colour_videos, tmp_path, *options, "TEST.ENABLE", False)) == 0
    events = EventAccumulator(str(tmp_path / "runs-kinetics")).Reload()
    for name in ("loss", "lr", "top1_err", "grad_norm", "dt"):
        assert [event.step for event in events.Scalars(f"Train/{name}")] == steps, name
    assert [line["iter"] for line in metrics_of(tmp_path, "train_iter")] == [4, 4][: 2 * (period == 4)]
    if period == 10:
        losses = [event.value for event in events.Scalars("Train/loss")]
        assert losses == pytest.approx([line["loss"] for line in metrics_of(tmp_path, "train_epoch")])
