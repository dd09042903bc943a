"""Log lines about the speed of training."""

from __future__ import annotations

from slowfast.engine.training.training_log import describe_epoch


def describe(data_seconds: float) -> str:
    return describe_epoch(1, 2, {"loss": 1.0, "dt": 1.0, "dt_data": data_seconds})


def test_the_line_of_an_epoch_that_waits_for_data_gives_advice() -> None:
    assert "50% of it waiting for data (to make it faster, set DATA_LOADER.NUM_WORKERS" in describe(0.5)
    assert "slowfast prepare resize" in describe(0.5)


def test_the_line_of_any_other_epoch_gives_no_advice() -> None:
    assert describe(0.1).endswith("1 s per step, 10% of it waiting for data")
