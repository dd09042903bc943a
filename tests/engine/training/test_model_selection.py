"""The best validation of a run, and the end of a training that no longer improves."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.checkpoint.best import best_of
from slowfast.checkpoint.state import TrainingProgress
from slowfast.checkpoint.storage import SavedCheckpoint, checkpoint_path, record_validation
from slowfast.engine.training.model_selection import ModelSelection, build_model_selection
from tests.support.configs import make_config


def observe(selection: ModelSelection, errors: list[float], first: int = 1) -> list[bool]:
    """Adds one validation per epoch; returns whether each was the best so far."""
    return [
        selection.observe(TrainingProgress(epoch), {"top1_err": error, "macro_f1": 100 - error, "videos": 50})
        for epoch, error in enumerate(errors, first)
    ]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_training_ends_after_validations_without_improvement() -> None:
    selection = ModelSelection(patience=2)
    assert observe(selection, [50.0, 40.0, 45.0]) == [True, True, False]
    assert not selection.is_exhausted
    assert observe(selection, [40.0], first=4) == [False]  # an equal value does not count
    assert selection.is_exhausted
    assert selection.best_progress == TrainingProgress(2)
    assert "40 at the end of epoch 2" in selection.describe()


@pytest.mark.parametrize(
    "option", [("TRAIN.PATIENCE", 2), ("TRAIN.BEST_METRIC", "loss"), ("TEST.WEIGHTS", "best"), ()]
)
def test_a_run_that_chooses_by_validations_keeps_the_best_one(option: tuple[str, Any]) -> None:
    assert build_model_selection(make_config({}, *option)).saves_best == bool(option)


def test_without_patience_training_never_ends() -> None:
    selection = ModelSelection()
    observe(selection, [10.0] * 50)
    assert not selection.is_exhausted


def test_a_validation_within_an_epoch_does_not_end_the_training() -> None:
    """A run has one where ``TRAIN.MAX_STEPS`` ends it, and would not have had it with a larger value."""
    selection = ModelSelection(patience=1)
    assert observe(selection, [50.0]) == [True]
    assert not selection.observe(TrainingProgress(1, 3), {"top1_err": 60.0, "videos": 50})
    assert not selection.is_exhausted
    assert selection.observe(TrainingProgress(1, 4), {"top1_err": 40.0, "videos": 50})
    assert observe(selection, [45.0], first=2) == [False]
    assert selection.is_exhausted


def test_an_end_between_two_validations_does_not_end_the_training() -> None:
    """Its validation is that of a smaller ``TRAIN.MAX_STEPS`` or ``SOLVER.MAX_EPOCH``."""
    selection = ModelSelection(patience=1, eval_period=2)
    assert observe(selection, [50.0, 60.0], first=2) == [True, False]
    assert not selection.is_exhausted
    assert observe(selection, [60.0], first=4) == [False]
    assert selection.is_exhausted


def test_small_differences_do_not_count() -> None:
    selection = ModelSelection(patience=2, min_improvement=2.0)
    assert observe(selection, [50.0, 49.0, 48.5]) == [True, False, False]
    assert selection.is_exhausted


def test_a_metric_that_grows_and_one_that_is_missing() -> None:
    selection = ModelSelection("macro_f1", patience=1)
    assert observe(selection, [50.0, 40.0]) == [True, True]
    assert selection.describe() == "best validation: macro_f1 60 at the end of epoch 2"
    assert not selection.observe(TrainingProgress(3), {"macro_f1": math.nan})
    only_missing = ModelSelection("auroc")
    assert observe(only_missing, [50.0]) == [False]
    assert only_missing.describe() == "no validation has a value of auroc"
    assert selection.is_exhausted


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_restored_selection_goes_on_exactly(stop: int) -> None:
    """The last validation before the stop is observed again from its file, which changes nothing."""
    errors = [50.0, 40.0, 41.0, 39.0, 45.0, 46.0]
    unbroken = ModelSelection(patience=2)
    expected = observe(unbroken, errors)
    first = ModelSelection(patience=2)
    before = observe(first, errors[:stop])
    second = ModelSelection(patience=2)
    second.load_state_dict(first.state_dict())
    assert observe(second, [errors[stop - 1]], first=stop) == before[-1:]
    assert before + observe(second, errors[stop:], first=stop + 1) == expected
    assert second.state_dict() == unbroken.state_dict()


def test_a_small_validation_is_warned_about_with_its_formula_once() -> None:
    selection = ModelSelection(saves_best=True)
    metrics = {"top1_err": 50.0, "videos": 50}
    warning = selection.describe_uncertainty(metrics)
    assert "differences below 19.6 points" in warning
    assert "5 points need 769 videos" in warning
    selection.observe(TrainingProgress(1), metrics)
    assert selection.describe_uncertainty(metrics) == ""
    assert ModelSelection().describe_uncertainty(metrics) == ""
    assert ModelSelection(saves_best=True).describe_uncertainty({"top1_err": 50.0, "videos": 800}) == ""
    assert ModelSelection("loss", saves_best=True).describe_uncertainty(metrics) == ""
    balanced = ModelSelection("balanced_acc", saves_best=True)
    assert balanced.describe_uncertainty({"balanced_acc": 50.0, "videos": 50}) == warning


def test_the_warning_is_for_the_difference_that_is_asked_for() -> None:
    selection = ModelSelection(saves_best=True, min_improvement=10.0)
    assert "10 points need 193 videos" in selection.describe_uncertainty({"top1_err": 50.0, "videos": 50})
    assert selection.describe_uncertainty({"top1_err": 50.0, "videos": 400}) == ""


def test_a_small_validation_without_mistakes_is_uncertain_too() -> None:
    selection = ModelSelection(saves_best=True)
    assert "differences below 51.7 points" in selection.describe_uncertainty({"top1_err": 0.0, "videos": 4})


def test_the_formula_covers_95_percent_of_chance_differences() -> None:
    rng = np.random.default_rng(0)
    hits = rng.binomial(200, 0.7, (2, 20000)) / 200
    bound = 1.96 * np.sqrt(2 * 0.7 * 0.3 / 200)
    assert (np.abs(hits[0] - hits[1]) <= bound).mean() == pytest.approx(0.95, abs=0.015)


def test_a_run_resumed_with_another_metric_compares_by_it_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise a loss would be compared with an accuracy, of which larger values are better."""
    first = ModelSelection("macro_f1", patience=2)
    observe(first, [50.0])
    resumed = ModelSelection("loss", patience=2)
    resumed.load_state_dict(first.state_dict())
    assert not caplog.records
    for epoch, loss in enumerate([0.3, 0.2, 0.1], 2):
        assert resumed.observe(TrainingProgress(epoch), {"loss": loss, "macro_f1": 50.0, "videos": 50})
    assert not resumed.is_exhausted
    assert warnings_of(caplog) == ["validations are compared by loss from here on, and before by macro_f1"]


def test_a_validation_without_a_video_is_not_compared() -> None:
    selection = ModelSelection(patience=1)
    assert not selection.observe(TrainingProgress(1), {"top1_err": 100.0, "videos": 0})
    assert not selection.is_exhausted
    assert observe(selection, [90.0], first=2) == [True]


def test_a_validation_of_a_disk_that_was_lost_for_a_while_is_not_the_best(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def metrics(error: float, videos: int) -> dict[str, float]:
        return {"top1_err": error, "videos": videos, "broken_videos": 40 - videos}

    selection = ModelSelection(patience=2)
    assert selection.observe(TrainingProgress(1), metrics(0.0, 4))
    assert selection.observe(TrainingProgress(2), metrics(50.0, 39))  # those before had scored few
    assert selection.lowest == {"top1_err": 50.0}
    assert not caplog.records
    assert not selection.observe(TrainingProgress(3), metrics(0.0, 0))
    assert not caplog.records, "the log of the validation says that no video was scored"
    assert not selection.observe(TrainingProgress(3, 1), metrics(0.0, 20))
    assert warnings_of(caplog) == [
        "validation at step 1 of epoch 4: 50 % of its videos have scores, so it is not compared with others"
    ]
    assert selection.lowest == {"top1_err": 50.0}
    resumed = ModelSelection(patience=2)
    resumed.load_state_dict(selection.state_dict())
    assert not resumed.observe(TrainingProgress(4), metrics(0.0, 35))
    assert resumed.observe(TrainingProgress(5), metrics(45.0, 36))
    # All are compared with the most complete one, so that small losses do not add up.
    assert not resumed.observe(TrainingProgress(6), metrics(0.0, 34))
    # A shorter list is another matter.
    assert resumed.observe(TrainingProgress(7), {"top1_err": 40.0, "videos": 10, "broken_videos": 0})
    assert not resumed.is_exhausted


@pytest.mark.parametrize(("metric", "values"), [("top1_err", (50.0, 0.0, 40.0)), ("map", (0.5, 1.0, 0.6))])
def test_the_best_checkpoint_is_not_one_whose_validation_scored_a_few_videos(
    metric: str, values: tuple[float, ...], tmp_path: Path
) -> None:
    found = []
    for epoch, (value, broken) in enumerate(zip(values, (0, 30, 2), strict=True), 1):
        progress = TrainingProgress(epoch)
        found.append(SavedCheckpoint(progress, checkpoint_path(tmp_path, progress)))
        metrics = {metric: value, "videos": 40 - broken, "broken_videos": broken}
        record_validation(found[-1].path, metrics)
    assert best_of(found) == found[2].path
