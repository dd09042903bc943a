"""Starts of a run: from earlier checkpoints, from weights in a file, or not at all; their warnings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slowfast.engine.run import crowded_cores, run
from slowfast.errors import CheckpointError
from tests.support.run_results import log_of, metrics_of
from tests.support.tiny import tiny_config

LAST = "checkpoints/checkpoint_epoch_00003.pyth"


def test_classes_without_a_training_video_are_reported(colour_videos: Path, tmp_path: Path) -> None:
    """The accuracy of a list of one class is 100 %."""
    lines = (colour_videos / "train.csv").read_text().splitlines()
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False, "TRAIN.BATCH_SIZE", 1)
    for count, kept in (("2 of 3 classes have", (" 1",)), ("1 of 3 classes has", (" 1", " 2"))):
        for split in ("train", "val"):
            (tmp_path / f"{split}.csv").write_text("\n".join(line for line in lines if line.endswith(kept)))
        assert run(tiny_config(tmp_path, tmp_path / count, *options)) == 0
        text = f"{count} no training video, such as class 0: check the labels, and MODEL.NUM_CLASSES"
        assert text in log_of(tmp_path / count)
    assert run(tiny_config(colour_videos, tmp_path / "all", *options)) == 0
    assert "no training video" not in log_of(tmp_path / "all")


def test_a_smaller_batch_than_one_clip_is_not_advised(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 1, "TRAIN.BATCH_SIZE")
    for size, advice in ((1, "use a larger"), (2, "use a smaller TRAIN.BATCH_SIZE (2) or a larger")):
        assert run(tiny_config(colour_videos, tmp_path / str(size), *options, size)) == 0
        assert f"some hundred to learn; {advice} SOLVER.MAX_EPOCH (1)" in log_of(tmp_path / str(size))
    assert run(tiny_config(colour_videos, tmp_path / "one", *options, 24)) == 0
    assert "1 step in total is few: most" in log_of(tmp_path / "one")


def test_a_checkpoint_that_is_later_than_the_end_of_the_run_is_reported(
    colour_videos: Path, tmp_path: Path
) -> None:
    options = ("TEST.ENABLE", False, "SOLVER.MAX_EPOCH")
    for epochs in (2, 2, 1):
        assert run(tiny_config(colour_videos, tmp_path, *options, epochs)) == 0
    complete = [line for line in log_of(tmp_path).splitlines() if "training is complete" in line]
    assert complete[0].endswith("training is complete")
    assert complete[1].endswith(
        ": the checkpoint is of the end of epoch 2, and the run ends at the end of epoch 1"
    )


def test_a_run_starts_from_the_weights_or_the_state_in_a_file(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    options = ("TRAIN.CHECKPOINT_FILE_PATH", str(unbroken / LAST), "TEST.ENABLE", False)
    with pytest.raises(
        CheckpointError, match=r"nothing is left to train; set TRAIN.CHECKPOINT_EPOCH_RESET True"
    ):
        run(tiny_config(colour_videos, tmp_path / "a", *options))
    reset = (*options, "TRAIN.CHECKPOINT_EPOCH_RESET", True, "TRAIN.MAX_STEPS", 1)
    assert run(tiny_config(colour_videos, tmp_path / "b", *reset)) == 0
    assert metrics_of(tmp_path / "b", "train_iter")[0]["loss"] < 0.2
    assert run(tiny_config(colour_videos, tmp_path / "c", *options, "SOLVER.MAX_EPOCH", 4)) == 0
    assert [line["epoch"] for line in metrics_of(tmp_path / "c", "train_epoch")] == [4]


def test_the_weights_of_a_model_with_other_classes_start_a_run_without_its_head(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    weights = torch.load(unbroken / LAST, weights_only=True)["model_state"]
    weights["head.weight"], weights["head.bias"] = torch.ones(5, 16), torch.ones(5)
    torch.save({"model_state": weights}, tmp_path / "five.pyth")
    options = ("TRAIN.CHECKPOINT_FILE_PATH", str(tmp_path / "five.pyth"), "TEST.ENABLE", False)
    options += ("TRAIN.MAX_STEPS", 1, "SOLVER.BASE_LR", 1e-9)
    with pytest.raises(CheckpointError, match=r"TRAIN\.CHECKPOINT_RESET_HEAD True"):
        run(tiny_config(colour_videos, tmp_path / "a", *options))
    assert run(tiny_config(colour_videos, tmp_path / "b", *options, "TRAIN.CHECKPOINT_RESET_HEAD", True)) == 0
    (checkpoint,) = (tmp_path / "b" / "checkpoints").glob("*.pyth")
    trained = torch.load(checkpoint, weights_only=True)["model_state"]
    torch.testing.assert_close(trained["hidden.weight"], weights["hidden.weight"])


def test_without_auto_resume_earlier_checkpoints_are_moved(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False, "TRAIN.AUTO_RESUME", False)
    for _ in range(3):
        assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert len(metrics_of(tmp_path, "train_iter")) == 3
    folders = sorted(tmp_path.glob("checkpoints*"))
    assert [path.name for path in folders] == ["checkpoints", "checkpoints.1", "checkpoints.2"]
    assert all(list(path.glob("*.pyth")) for path in folders)


@pytest.mark.parametrize(
    ("num_workers", "processes", "cores", "better"),
    [
        (4, 1, 4, None),
        (8, 1, 4, 4),
        (4, 2, 4, 2),
        (2, 2, 5, None),
        (1, 4, 2, None),  # no process can have fewer workers
        (2, 4, 2, 1),
        (2, 1, 1, 1),
        (0, 8, 1, None),
    ],
)
def test_the_warning_about_workers_names_a_smaller_number(
    num_workers: int, processes: int, cores: int, better: int | None
) -> None:
    warning = crowded_cores(num_workers, processes, cores)
    if better is None:
        assert warning == ""
    else:
        assert better < num_workers
        node = "this node has 1 core;" if cores == 1 else f"this node has {cores} cores;"
        assert f"NUM_WORKERS is {num_workers} for each process, but {node}" in warning
        assert f"; {better} would be faster" in warning
