"""Log lines about the speed of training."""

from __future__ import annotations

from slowfast.engine.training.training_log import describe_epoch


def test_the_line_of_an_epoch_gives_no_advice() -> None:
    """That is in the line on the headroom, once per run and from measured times."""
    line = describe_epoch(1, 2, {"loss": 1.0, "dt": 1.0, "dt_data": 0.5})
    assert line == "epoch 1/2: loss 1.0000, 1 s per step, 50% of it waiting for data"
