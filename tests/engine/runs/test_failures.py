"""Steps that fail, and disks that are lost, while a run continues or ends with a remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from slowfast.engine.run import run
from slowfast.errors import OutputError, TrainingError
from slowfast.models.build import MODEL_REGISTRY
from tests.support.run_results import metrics_of
from tests.support.tiny import Tiny, tiny_config


@MODEL_REGISTRY.register("ExplodingTiny")
class ExplodingTiny(Tiny):
    """Returns NaN in training steps 4 to 6."""

    steps = 0

    def forward(self, *given: Any) -> Tensor:
        self.steps += self.training
        logits = super().forward(*given)
        return logits * float("nan") if self.training and 4 <= self.steps < 7 else logits


def test_steps_without_a_finite_loss_are_skipped_up_to_a_limit(colour_videos: Path, tmp_path: Path) -> None:
    options = ("MODEL.MODEL_NAME", "ExplodingTiny", "TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 1)
    assert run(tiny_config(colour_videos, tmp_path / "a", *options)) == 0
    log = (tmp_path / "a" / "stdout.log").read_text()
    assert "skipped: step 4 of epoch 1 has loss nan" in log
    assert "3 of 6 steps left the weights as they were, since loss or gradients were not finite; the " in log
    assert metrics_of(tmp_path / "a", "val_epoch")[0]["top1_err"] < 50
    with pytest.raises(
        TrainingError, match=r"3 steps without .* the first: step 4 of epoch 1 .*train_\d+\.mp4"
    ):
        run(tiny_config(colour_videos, tmp_path / "b", *options, "SOLVER.MAX_SKIPPED_STEPS", 2))


@MODEL_REGISTRY.register("NaNTiny")
class NaNTiny(Tiny):
    """Returns NaN in each step of training."""

    def forward(self, *given: Any) -> Tensor:
        logits = super().forward(*given)
        return logits * float("nan") if self.training else logits


def test_a_run_that_has_learned_nothing_does_not_end_well(colour_videos: Path, tmp_path: Path) -> None:
    """Its few steps are within the limit of skipped ones, and its test would score the initial weights."""
    options = ("MODEL.MODEL_NAME", "NaNTiny", "SOLVER.MAX_EPOCH", 1)
    for steps in (2, 0):  # the second start resumes the first one
        with pytest.raises(TrainingError, match=r"nothing was learned: (2 of 2|6 of 6) steps left the .*nan"):
            run(tiny_config(colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", steps))


def test_skipped_steps_are_counted_over_all_starts_of_a_run(colour_videos: Path, tmp_path: Path) -> None:
    """The model skips its steps 4 and 5 before the run is resumed, and its step 4 after that."""
    options = ("MODEL.MODEL_NAME", "ExplodingTiny", "SOLVER.MAX_SKIPPED_STEPS", 2)
    assert run(tiny_config(colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 5)) == 0
    with pytest.raises(TrainingError, match=r"3 steps without .* the first: step 4 of epoch 1 "):
        run(tiny_config(colour_videos, tmp_path, *options))


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EACCES, errno.ESTALE, errno.EIO, errno.EEXIST])
def test_a_lost_disk_is_an_error_with_a_remedy(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Between a checkpoint and the record of its validation, such as by a ticket that has expired.

    EEXIST: a file has taken the place of the folder of checkpoints.
    """
    fsync = os.fsync

    def lose(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".json"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(OutputError, match=r"cannot be written to .*checkpoint_epoch_00001\.json \("):
        run(tiny_config(colour_videos, tmp_path))


def test_checkpoints_that_could_not_be_written_are_an_error_before_the_first_step(
    colour_videos: Path, tmp_path: Path
) -> None:
    """The folder may also be read-only, or of another user, who started the run."""
    (tmp_path / "checkpoints").touch()
    with pytest.raises(OutputError, match=r"cannot be written to .*checkpoints"):
        run(tiny_config(colour_videos, tmp_path))
    assert not (tmp_path / "metrics.jsonl").exists()
