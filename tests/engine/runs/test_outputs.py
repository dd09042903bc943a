"""Output of a training run: metrics, checkpoints, logs, curves and predictions."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.engine.prediction_file import load_predictions
from slowfast.engine.run import run
from slowfast.engine.run_lock import FolderInUseError, lock_folder
from tests.support.processes import run_forked
from tests.support.run_results import assert_same_end, losses_of, metrics_of, run_with_signal
from tests.support.tiny import tiny_config

LAST = "checkpoints/checkpoint_epoch_00003.pyth"


def test_a_run_learns_and_writes_all_its_files(unbroken: Path) -> None:
    steps = metrics_of(unbroken, "train_iter")
    assert [(line["epoch"], line["iter"]) for line in steps] == [
        (e, i) for e in (1, 2, 3) for i in range(1, 7)
    ]
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    assert steps[0]["lr"] == 0.05
    assert [line["epoch"] for line in metrics_of(unbroken, "val_epoch")] == [1, 2, 3]
    assert [line["iter"] for line in metrics_of(unbroken, "test_iter")] == [1, 2, 3, 4]
    assert metrics_of(unbroken, "test_final")[0]["top1_acc"] == 100.0
    assert (unbroken / LAST).exists()
    assert json.loads((unbroken / LAST).with_suffix(".json").read_text())["top1_err"] == 0.0
    assert "MODEL_NAME: Tiny" in (unbroken / "config.yaml").read_text()
    assert load_predictions(unbroken / "predictions.npz").num_views.tolist() == [2] * 7
    assert "test: top-1 100.00 % over 7 of 7 videos, 2 views each" in (unbroken / "stdout.log").read_text()


def test_videos_of_the_training_in_other_lists_are_counted(colour_videos: Path, tmp_path: Path) -> None:
    """One list for all splits is accepted, but its accuracy looks like a result."""
    data = tmp_path / "data"
    data.mkdir()
    for split, others in (("train", ["val", "test"]), ("val", []), ("test", [])):
        lines = (colour_videos / f"{split}.csv").read_text().splitlines()
        for other in others:
            lines += (colour_videos / f"{other}.csv").read_text().splitlines()[:2]
        (data / f"{split}.csv").write_text("\n".join(lines))
    logs = {}
    for name, source in (("apart", colour_videos), ("mixed", data), ("one", data / "val.csv")):
        options = ("TRAIN.MAX_STEPS", 1, "DATA.PATH_TO_DATA_DIR", str(source), "TRAIN.BATCH_SIZE", 2)
        assert run(tiny_config(colour_videos, tmp_path / name, *options)) == 0
        logs[name] = (tmp_path / name / "stdout.log").read_text()
    assert "in the training list" not in logs["apart"]
    for name, count in (("mixed", "2 of 7"), ("one", "7 of 7")):
        for split in ("validation", "test"):
            assert f"{split}: {count} videos are in the training list, too" in logs[name]


def test_checkpoints_have_the_class_names_of_the_data_set(colour_videos: Path, tmp_path: Path) -> None:
    names = ("red", "green", "blue")
    for split in ("train", "val"):
        for line in (colour_videos / f"{split}.csv").read_text().splitlines():
            path, label = line.split()
            folder = tmp_path / "data" / split / f"{label} {names[int(label)]}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / Path(path).name).symlink_to(colour_videos / path)
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False, "TRAIN.DATASET", "videofolder")
    assert run(tiny_config(tmp_path / "data", tmp_path / "run", *options)) == 0
    (checkpoint,) = (tmp_path / "run/checkpoints").glob("*.pyth")
    assert tuple(read_checkpoint(checkpoint)["class_names"]) == ("0 red", "1 green", "2 blue")


@pytest.mark.parametrize(("num_gpus", "level"), [(1, "INFO"), (4, "WARNING")])
def test_a_run_configured_for_gpus_uses_the_cpu_without_them(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_gpus: int, level: str
) -> None:
    """One GPU is the default, so that its absence is not worth a warning."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False, "NUM_GPUS", num_gpus)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    log = (tmp_path / "stdout.log").read_text()
    warning = f"NUM_GPUS is {num_gpus}, but this node has no GPU: using one CPU process"
    assert f"[{level}] slowfast.engine.run: {warning}" in log


def test_the_log_counts_left_out_videos_and_says_why_it_ends(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TRAIN.BATCH_SIZE", 6, "TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False)
    cfg = tiny_config(colour_videos, tmp_path, *options)
    assert run(cfg) == 0
    log = (tmp_path / "stdout.log").read_text()
    videos = len((Path(cfg.DATA.PATH_TO_DATA_DIR) / "train.csv").read_text().splitlines())
    assert f"{videos % 6} of {videos} videos are left out of each epoch, others each time" in log
    steps = videos // 6 * cfg.SOLVER.MAX_EPOCH
    assert f"training ended after 1 step of {steps} (TRAIN.MAX_STEPS = 1)" in log
    assert log.count("decoder of videos: ") == 1
    assert "steps in total are few" not in log  # as asked for


def test_a_run_of_few_steps_is_warned_about(unbroken: Path) -> None:
    log = (unbroken / "stdout.log").read_text()
    assert "6 steps per epoch, 18 in total; float32" in log
    assert "18 steps in total are few: most models need some hundred to learn; use a smaller" in log
    assert "TRAIN.BATCH_SIZE (4) or a larger SOLVER.MAX_EPOCH (3)" in log


@pytest.mark.parametrize("warmup", [False, True])
def test_an_average_that_stays_near_the_initial_weights_is_warned_about(
    colour_videos: Path, tmp_path: Path, warmup: bool
) -> None:
    average = ("MODEL_EMA.ENABLE", True, "MODEL_EMA.WARMUP", warmup)
    options = (*average, "TRAIN.MAX_STEPS", 6, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    log = (tmp_path / "stdout.log").read_text()
    warning = (
        "after 6 steps the averaged weights, which validation and test use, are still 99.9 % the initial"
    )
    assert (f"MODEL_EMA.DECAY = 0.9998: {warning}" in log) == (not warmup)
    assert ("set MODEL_EMA.WARMUP True" in log) == (not warmup)


def test_mixed_precision_and_clipped_gradients_work_on_the_cpu(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TRAIN.MIXED_PRECISION", True, "SOLVER.CLIP_GRAD_L2NORM", 0.01, "TRAIN.MAX_STEPS", 3)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert "mixed, bfloat16" in (tmp_path / "stdout.log").read_text()
    losses = losses_of(tmp_path)
    assert all(loss > 0.7 for loss in losses)  # steps of at most 0.05 × 0.01 change little


def be_killed_after_a_checkpoint(cfg: CfgNode) -> int:
    """Runs until step 10, and on a slow disk until the first checkpoint is complete."""
    kill = os.kill

    def wait_and_kill(process: int, signum: int) -> None:
        while not list(Path(cfg.OUTPUT_DIR, "checkpoints").glob("checkpoint*.pyth")):
            time.sleep(0.01)
        kill(process, signum)

    os.kill = wait_and_kill
    return run_with_signal(cfg, signal.SIGKILL, 10)


def test_checkpoints_within_an_epoch_are_written_by_the_clock(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    often = ("TRAIN.CHECKPOINT_MINUTES", 1e-9, "TRAIN.CHECKPOINT_PERIOD", 3)
    assert (
        run_forked(be_killed_after_a_checkpoint, tiny_config(colour_videos, tmp_path, *often))
        == -signal.SIGKILL
    )
    found = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.pyth"))
    # Their number depends on the disk: a checkpoint is skipped while the previous one is being written.
    assert 1 <= len(found) <= 3
    # That of the first epoch, which was written before the validation, stays while it is one of the last two.
    within = [name for name in found if "_step_" in name]
    assert within
    assert set(found) - set(within) <= {"checkpoint_epoch_00001.pyth"}
    assert run_forked(run, tiny_config(colour_videos, tmp_path)) == 0
    assert_same_end(unbroken, tmp_path)


def test_a_second_run_in_the_same_folder_stops_before_it_writes(colour_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(colour_videos, tmp_path)
    with lock_folder(tmp_path):
        assert run_forked(_is_refused, cfg) == 0
    assert not (tmp_path / "config.yaml").exists()
    assert run_forked(_is_refused, cfg) == 1  # the lock is free again


def _is_refused(cfg: CfgNode) -> int:
    try:
        run(cfg)
    except FolderInUseError as error:
        return 0 if f"another run is writing there (process {os.getppid()} on" in str(error) else 2
    return 1


def test_tensorboard_shows_curves_and_the_confusion_matrix(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TENSORBOARD.ENABLE", True, "TENSORBOARD.CONFUSION_MATRIX.ENABLE", True, "TRAIN.MAX_STEPS", 2)
    assert run(tiny_config(colour_videos, tmp_path, *options, "TEST.ENABLE", False)) == 0
    events = EventAccumulator(str(tmp_path / "runs-kinetics")).Reload()
    assert [event.step for event in events.Scalars("Train/loss")] == [1, 2]
    assert events.Scalars("Val/top1_err")[0].step == 2
    assert events.Images("Confusion Matrix")


@pytest.mark.parametrize(
    "name", [".predictions.writing-1-0a1b2c3d.npz", "checkpoints/.c.writing-1-0a1b.pyth"]
)
def test_a_run_deletes_the_unfinished_files_of_a_killed_one(
    colour_videos: Path, tmp_path: Path, name: str
) -> None:
    unfinished = tmp_path / name
    unfinished.parent.mkdir(exist_ok=True)
    unfinished.touch()
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert not unfinished.exists()
