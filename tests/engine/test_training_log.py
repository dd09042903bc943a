"""Log lines about the speed of training, and the curves of trackers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from slowfast.checkpoint.best import best_of
from slowfast.checkpoint.storage import list_checkpoints
from slowfast.engine.run import run
from slowfast.engine.speed.headroom import StepTimes
from slowfast.engine.training.train_step import Correct, StepResult
from slowfast.engine.training.training_log import _Sums, describe_epoch, describe_validation
from slowfast.errors import DataError
from slowfast.log import CountOf
from tests.support.run_results import log_of, metrics_of
from tests.support.tiny import Tiny, tiny_config


def test_the_line_of_an_epoch_gives_no_advice() -> None:
    """That is in the line on the headroom, once per run and from measured times."""
    line = describe_epoch(1, 2, {"loss": 1.0, "dt": 1.0, "dt_data": 0.5})
    assert line == "epoch 1/2: loss 1.0000, 1 s per step, 50 % of it waiting for data"


def test_the_line_of_a_validation_has_the_best_one_so_far() -> None:
    metrics = {"loss": 0.5, "top1_err": 25.0, "videos": 4}
    line = describe_validation(CountOf(2, 6), metrics, {"top1_err": 12.5})
    assert line == (
        "validation in epoch 2/6: loss 0.5000, top-1 75.00 % over 4 videos; highest top-1 so far 87.50 %"
    )
    line = describe_validation(CountOf(1, 6), {"loss": float("nan"), "map": 0.25, "videos": 1}, {})
    assert line == "validation in epoch 1/6: mAP 0.2500 over 1 video"


def test_a_validation_without_a_scored_video_has_no_result(colour_videos: Path, tmp_path: Path) -> None:
    """An error of 100 % would be drawn, and compared with others, as if videos had been scored."""
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.mp4").touch()
        lines = (colour_videos / "train.csv").read_text() if split == "train" else f"{split}.mp4 0\n"
        (tmp_path / f"{split}.csv").write_text(lines)
    options = ("TRACKERS", ("tensorboard",), "SOLVER.MAX_EPOCH", 1, "DATA.PATH_PREFIX", str(tmp_path))
    with pytest.raises(DataError, match="no test video could be scored"):
        run(tiny_config(tmp_path, tmp_path / "out", *options))
    log = (tmp_path / "out" / "stdout.log").read_text()
    assert "validation in epoch 1/1: no video could be scored" in log
    (line,) = metrics_of(tmp_path / "out", "val_epoch")
    assert line["videos"] == 0
    assert line["broken_videos"] > 0
    assert not {"top1_err", "min_top1_err", "loss"} & set(line)
    assert not metrics_of(tmp_path / "out", "test_final")
    assert best_of(list_checkpoints(tmp_path / "out")) is None
    events = EventAccumulator(str(tmp_path / "out" / "runs-kinetics")).Reload()
    assert "Val/top1_err" not in events.Tags()["scalars"]


def test_a_video_without_finite_scores_is_named_by_its_path(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Tiny.forward

    def without_scores(model: Tiny, *inputs: Any) -> Tensor:
        logits = forward(model, *inputs)
        return logits if model.training else logits * float("nan")

    monkeypatch.setattr(Tiny, "forward", without_scores)
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    first = (colour_videos / "val.csv").read_text().split()[0]
    assert f"  {first}: not finite (the scores of view 0" in log_of(tmp_path)


def test_steps_that_are_all_skipped_have_no_accuracy() -> None:
    sums = _Sums()
    skipped = StepResult(float("nan"), 4, Correct(0, 0), 1.0, 0, updated=False, stop=False)
    sums.add(skipped, StepTimes(0.0, 1.0))
    assert "top1_err" not in sums.metrics()


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
