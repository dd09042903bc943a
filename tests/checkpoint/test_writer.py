"""Checkpoints in the background: their content, their times, and the deletion of old ones."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest
import torch

from slowfast.checkpoint import writer as checkpoint_writer
from slowfast.checkpoint.best import best_of
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import (
    checkpoint_path,
    list_checkpoints,
    record_validation,
    recorded_validation,
    save_checkpoint,
)
from slowfast.checkpoint.writer import CheckpointWriter, superfluous
from slowfast.distributed.dtensor import full_state_on_cpu
from slowfast.errors import CheckpointError
from tests.support.tiny import Tiny


def state_of(model: Tiny, progress: TrainingProgress) -> TrainingState:
    return TrainingState(progress, model.state_dict(), {}, {}, "", 0, 4, "")


def names(paths: list[Path]) -> list[str]:
    return sorted(path.stem.removeprefix("checkpoint_epoch_") for path in paths)


def test_a_copy_in_host_memory_is_not_changed_by_later_steps() -> None:
    model = Tiny()
    before = model.head.weight.detach().clone()
    copy = full_state_on_cpu({"model": model.state_dict(), "groups": [{"lr": 0.1, "params": [0, 1]}]})
    with torch.no_grad():
        model.head.weight.zero_()
    assert torch.equal(copy["model"]["head.weight"], before)
    assert copy["groups"] == [{"lr": 0.1, "params": [0, 1]}]


def test_a_checkpoint_that_is_due_while_another_is_written_is_skipped_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk_is_ready = threading.Event()

    def write_slowly(output: Path, state: TrainingState) -> Path:
        disk_is_ready.wait(10)
        return checkpoint_path(output, state.progress)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", write_slowly)
    writer = CheckpointWriter(tmp_path, minutes=60, steps=5)
    assert [step for step in range(1, 11) if writer.is_due(step)] == [5, 10]
    writer.write(state_of(Tiny(), TrainingProgress(0, 5)))
    assert not writer.is_due(10)
    assert "no checkpoint after 10 steps: the previous one is still being written" in caplog.text
    writer._last = -math.inf
    assert not any(map(writer.is_due, range(11, 15)))
    assert caplog.text.count("no checkpoint after") == 2, "one line for all steps of the period"
    disk_is_ready.set()
    assert writer._thread is not None
    writer._thread.join()  # training itself does not wait for it
    assert writer.is_due(15)


def test_a_checkpoint_is_due_after_some_minutes(tmp_path: Path) -> None:
    assert not CheckpointWriter(tmp_path).is_due(7)
    assert not CheckpointWriter(tmp_path, minutes=10).is_due(7)
    assert CheckpointWriter(tmp_path, minutes=1e-9).is_due(7)


def test_an_error_while_writing_is_raised_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", fail)
    writer = CheckpointWriter(tmp_path)
    state = state_of(Tiny(), TrainingProgress(1))
    for next_call in (writer.wait, writer.prune, lambda: writer.write(state)):
        writer.write(state)
        with pytest.raises(CheckpointError, match="the disk is full"):
            next_call()
        writer.wait()


def test_the_latest_checkpoints_and_the_best_one_are_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for epoch in range(1, 6):
        checkpoint_path(tmp_path, TrainingProgress(epoch)).touch()
        record_validation(
            checkpoint_path(tmp_path, TrainingProgress(epoch)), {"top1_err": abs(epoch - 2) + 1.0}
        )
    for progress in (TrainingProgress(3, 4), TrainingProgress(5, 2), TrainingProgress(5, 4)):
        checkpoint_path(tmp_path, progress).touch()
    assert names(superfluous(tmp_path, keep=0)) == ["00003_step_000004"]
    # Epoch 2 has the best validation; at least two are always kept.
    assert names(superfluous(tmp_path, keep=1)) == ["00001", "00003", "00003_step_000004"]
    assert names(superfluous(tmp_path, keep=3)) == ["00001", "00003_step_000004"]


def test_the_best_checkpoint_is_the_earliest_of_equals_and_has_its_metric(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for epoch, error in enumerate((math.nan, 5.0, 3.0, 3.0, 4.0), start=1):
        path = checkpoint_path(tmp_path, TrainingProgress(epoch))
        path.touch()
        record_validation(path, {"top1_err": error})
    found = list_checkpoints(tmp_path)
    assert best_of(found) == checkpoint_path(tmp_path, TrainingProgress(3))
    assert best_of(found, "loss") is None


def test_pruning_deletes_the_metrics_with_the_checkpoint(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, keep=2)
    for epoch in (1, 2, 3, 4):
        path = writer.write(state_of(Tiny(), TrainingProgress(epoch)))
        record_validation(path, {"top1_err": 10.0 - epoch})
        writer.prune()
    assert names(list((tmp_path / "checkpoints").iterdir())) == ["00003", "00003", "00004", "00004"]


def test_later_checkpoints_of_a_restarted_epoch_are_renamed_after_the_next_one(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path)
    for progress in (TrainingProgress(3), TrainingProgress(3, 400), TrainingProgress(3, 500)):
        record_validation(writer.write(state_of(Tiny(), progress)), {"top1_err": 1.0})
        writer.wait()
    writer.restart_from(TrainingProgress(3))
    assert "00003_step_000500" in names(list((tmp_path / "checkpoints").glob("*.pyth")))
    for step in (20, 500, 600):
        writer.write(state_of(Tiny(), TrainingProgress(3, step)))
        writer.wait()
    files = list((tmp_path / "checkpoints").iterdir())
    # The one at step 500, which is written again, stays, and the older one of this run is superfluous.
    left = ["00003", "00003_step_000500", "00003_step_000600"]
    assert names([path for path in files if path.suffix == ".pyth"]) == left
    # Their metrics too; those of a checkpoint that is written again are deleted.
    assert names([path for path in files if path.suffix == ".json"]) == ["00003"]
    superseded = [
        "00003_step_000400.json",
        "00003_step_000400.pyth",
        "00003_step_000500.json",
        "00003_step_000500.pyth",
    ]
    assert names([path for path in files if path.suffix == ".superseded"]) == superseded


def test_metrics_that_are_recorded_while_a_superseded_checkpoint_is_replaced_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation of a small model may end before its checkpoint is on the disk."""
    writer = CheckpointWriter(tmp_path)
    writer.write(state_of(Tiny(), TrainingProgress(1)))
    writer.wait()
    writer.restart_from(TrainingProgress(0))
    recorded = threading.Event()

    def save_late(output_dir: Path, state: TrainingState) -> Path:
        assert recorded.wait(timeout=60)
        return save_checkpoint(output_dir, state)

    monkeypatch.setattr("slowfast.checkpoint.writer.save_checkpoint", save_late)
    path = writer.write(state_of(Tiny(), TrainingProgress(1)))
    record_validation(path, {"top1_err": 2.0})
    recorded.set()
    writer.wait()
    assert recorded_validation(path) == {"top1_err": 2.0}


def test_a_validated_checkpoint_within_an_epoch_is_kept_like_one_at_its_end(tmp_path: Path) -> None:
    """A run that ended by MAX_STEPS was validated there; the run is then extended."""
    errors = {TrainingProgress(3, 4): 5.0, TrainingProgress(4): 30.0, TrainingProgress(5): 31.0}
    for progress, error in errors.items():
        path = save_checkpoint(tmp_path, state_of(Tiny(), progress))
        record_validation(path, {"top1_err": error, "videos": 9})
    assert superfluous(tmp_path, keep=0) == []
    save_checkpoint(tmp_path, state_of(Tiny(), TrainingProgress(6)))
    assert names(superfluous(tmp_path, keep=2)) == ["00004"]
