"""The length of a run and its due times, walked step by step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slowfast.checkpoint.state import TrainingProgress
from slowfast.engine.training.schedule import Schedule


@given(
    epochs=st.integers(1, 6),
    steps=st.integers(1, 5),
    most=st.integers(0, 35),
    eval_period=st.integers(1, 4),
    checkpoint_period=st.integers(1, 4),
)
def test_a_run_has_its_length_and_its_validations_and_checkpoints(
    epochs: int, steps: int, most: int, eval_period: int, checkpoint_period: int
) -> None:
    schedule = Schedule(epochs, steps, most, eval_period, checkpoint_period)
    length = min(epochs * steps, most or epochs * steps)
    progress, validated, saved = TrainingProgress(0, 0), [], []
    for taken in range(1, length + 1):
        assert progress < schedule.end
        assert schedule.describe_early_end(progress) == ""
        progress = schedule.after(progress)
        assert schedule.steps_to(progress) == taken
        validated += [taken] * schedule.validates_at(progress)
        saved += [taken] * schedule.saves_at(progress)
    assert progress == schedule.end
    assert (f"ended after {length} step" in schedule.describe_early_end(progress)) == (
        length < epochs * steps
    )
    for due, period in ((validated, eval_period), (saved, checkpoint_period)):
        assert due == sorted({*range(period * steps, length + 1, period * steps), length})
