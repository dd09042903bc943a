"""Training runs: metrics, resuming, stops and failures, with one and with several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from slowfast.distributed.world import free_local_address
from slowfast.engine.prediction_file import load_predictions
from slowfast.engine.run import run
from slowfast.engine.run_lock import FolderInUseError, lock_folder
from slowfast.errors import CheckpointError, ConfigError, DataError, DistributedError, TrainingError
from slowfast.models.build import MODEL_REGISTRY
from tests.support import tiny
from tests.support.processes import run_all, run_forked
from tests.support.run_results import assert_same_end, metrics_of, run_with_signal
from tests.support.tiny import Tiny, tiny_config

LAST = "checkpoints/checkpoint_epoch_00003.pyth"


@pytest.fixture(scope="module")
def unbroken(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run without interruption."""
    output = tmp_path_factory.mktemp("unbroken")
    assert run_forked(run, tiny_config(colour_videos, output)) == 0
    return output


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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_stopped_within_an_epoch_ends_with_the_same_weights(
    unbroken: Path, colour_videos: Path, tmp_path: Path, workers: int
) -> None:
    options = ("DATA_LOADER.NUM_WORKERS", workers)
    assert run_forked(run, tiny_config(colour_videos, tmp_path, "TRAIN.MAX_STEPS", 8, *options)) == 0
    assert (tmp_path / "checkpoints" / "checkpoint_epoch_00001_step_000002.pyth").exists()
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *options)) == 0
    assert_same_end(unbroken, tmp_path)


def test_a_killed_run_repeats_only_the_steps_since_the_last_checkpoint(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    for step in (3, 8, 2, 9):
        cfg = tiny_config(colour_videos, tmp_path)
        assert run_forked(run_with_signal, cfg, signal.SIGKILL, step) == -signal.SIGKILL
    assert run_forked(run, tiny_config(colour_videos, tmp_path)) == 0
    assert_same_end(unbroken, tmp_path)


@pytest.mark.parametrize(
    ("signum", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_after_a_signal_the_step_is_finished_saved_and_logged(
    unbroken: Path, colour_videos: Path, tmp_path: Path, signum: int, code: int, name: str
) -> None:
    assert run_forked(run_with_signal, tiny_config(colour_videos, tmp_path), signum, 9) == code
    last_line = (tmp_path / "stdout.log").read_text().splitlines()[-1]
    assert f"stopped by {name}: saved" in last_line
    assert "checkpoint_epoch_00001_step_000003.pyth (step 3 of epoch 2)" in last_line
    assert run_forked(run, tiny_config(colour_videos, tmp_path)) == 0
    assert_same_end(unbroken, tmp_path)


def test_ctrl_c_in_a_terminal_stops_a_run_with_workers(colour_videos: Path, tmp_path: Path) -> None:
    """The signal reaches the loader's workers too, as it does from a terminal."""
    options = ["SOLVER.MAX_EPOCH", "100", "DATA_LOADER.NUM_WORKERS", "1", "TRAIN.EVAL_PERIOD", "100"]
    command = [sys.executable, tiny.__file__, str(colour_videos), str(tmp_path), "", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if '"epoch": "2/100"' in line and '"iter": "3/6"' in line:
                os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
    assert "stopped by Ctrl-C: saved" in lines[-1]
    assert "the same command continues from there" in lines[-1]


def test_a_run_stopped_before_a_validation_validates_when_it_is_resumed(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    assert run_forked(run, tiny_config(colour_videos, tmp_path, "TRAIN.MAX_STEPS", 6)) == 0
    (tmp_path / "checkpoints" / "checkpoint_epoch_00001.json").unlink()
    assert run_forked(run, tiny_config(colour_videos, tmp_path, "TRAIN.MAX_STEPS", 6)) == 0
    assert [line["epoch"] for line in metrics_of(tmp_path, "val_epoch")] == [1, 1]
    assert "training is complete" in (tmp_path / "stdout.log").read_text()


def test_a_run_with_a_damaged_newest_checkpoint_repeats_only_its_epoch(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    assert run_forked(run, tiny_config(colour_videos, tmp_path, "TRAIN.MAX_STEPS", 12)) == 0
    newest = tmp_path / "checkpoints" / "checkpoint_epoch_00002.pyth"
    newest.write_bytes(newest.read_bytes()[:-50])
    assert run_forked(run, tiny_config(colour_videos, tmp_path)) == 0
    assert "checkpoint_epoch_00002.pyth is damaged" in (tmp_path / "stdout.log").read_text()
    assert_same_end(unbroken, tmp_path)


def test_two_processes_give_the_metrics_of_one(colour_videos: Path, tmp_path: Path) -> None:
    options = ("MODEL.DROPOUT_RATE", 0.0)
    assert run_forked(run, tiny_config(colour_videos, tmp_path / "one", *options)) == 0
    address, half = free_local_address(), ("TRAIN.BATCH_SIZE", 2, "NUM_SHARDS", 2, *options)
    configs = [tiny_config(colour_videos, tmp_path / "two", *half, "SHARD_ID", shard) for shard in (0, 1)]
    assert run_all(run, [(cfg, address) for cfg in configs]) == [0, 0]
    one, two = (metrics_of(tmp_path / name, "train_iter") for name in ("one", "two"))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    assert [line["top1_err"] for line in two] == [line["top1_err"] for line in one]
    for name in ("loss", "top1_err", "videos"):
        one_val, two_val = (metrics_of(tmp_path / where, "val_epoch") for where in ("one", "two"))
        assert [line[name] for line in two_val] == pytest.approx([line[name] for line in one_val], rel=1e-4)
    ours, theirs = (load_predictions(tmp_path / name / "predictions.npz") for name in ("one", "two"))
    assert ours.paths == theirs.paths
    assert abs(ours.scores - theirs.scores).max() < 1e-5


def test_a_signal_to_one_of_two_processes_stops_both(colour_videos: Path, tmp_path: Path) -> None:
    address = free_local_address()
    configs = [
        tiny_config(colour_videos, tmp_path, "TRAIN.BATCH_SIZE", 2, "NUM_SHARDS", 2, "SHARD_ID", shard)
        for shard in (0, 1)
    ]
    given = [(cfg, signal.SIGTERM, step, address) for cfg, step in zip(configs, (0, 9), strict=True)]
    assert run_all(run_with_signal, given) == [143, 143]
    assert (tmp_path / "checkpoints" / "checkpoint_epoch_00001_step_000003.pyth").exists()


def test_processes_with_different_configurations_stop_at_the_start(
    colour_videos: Path, tmp_path: Path
) -> None:
    address = free_local_address()
    learning_rates = ((0, 0.1), (1, 0.2))
    given = [
        (tiny_config(colour_videos, tmp_path, "NUM_SHARDS", 2, "SHARD_ID", n, "SOLVER.BASE_LR", lr), address)
        for n, lr in learning_rates
    ]
    assert run_all(_is_refused_as_different, given) == [0, 0]


def _is_refused_as_different(cfg: CfgNode, address: str) -> int:
    try:
        run(cfg, address)
    except DistributedError as error:
        return (
            0
            if "rank 1 has another configuration than rank 0: SOLVER.BASE_LR: 0.1 → 0.2" in str(error)
            else 2
        )
    return 1


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
    assert "skipped: step 4 of epoch 1 has loss nan" in (tmp_path / "a" / "stdout.log").read_text()
    assert metrics_of(tmp_path / "a", "val_epoch")[0]["top1_err"] < 50
    with pytest.raises(
        TrainingError, match=r"3 steps without .* the first: step 4 of epoch 1 .*train_\d+\.mp4"
    ):
        run(tiny_config(colour_videos, tmp_path / "b", *options, "SOLVER.MAX_SKIPPED_STEPS", 2))


def test_skipped_steps_are_counted_over_all_starts_of_a_run(colour_videos: Path, tmp_path: Path) -> None:
    """The model skips its steps 4 and 5 before the run is resumed, and its step 4 after that."""
    options = ("MODEL.MODEL_NAME", "ExplodingTiny", "SOLVER.MAX_SKIPPED_STEPS", 2)
    assert run(tiny_config(colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 5)) == 0
    with pytest.raises(TrainingError, match=r"3 steps without .* the first: step 4 of epoch 1 "):
        run(tiny_config(colour_videos, tmp_path, *options))


def test_broken_videos_are_replaced_listed_and_counted(colour_videos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "val", "test"):
        lines = (colour_videos / f"{split}.csv").read_text().splitlines()
        (data / f"{split}.csv").write_text("\n".join([*lines, "absent.mp4 0"]) + "\n")
    options = ("SOLVER.MAX_EPOCH", 1, "TRAIN.BATCH_SIZE", 27)
    assert run(tiny_config(data, tmp_path / "a", *options)) == 0
    log = (tmp_path / "a" / "stdout.log").read_text()
    assert "epoch 1: replaced by other videos: 1 broken:\n  absent.mp4: missing" in log
    assert "over 7 of 8 videos" in log
    assert load_predictions(tmp_path / "a" / "predictions.npz").broken[0].path == "absent.mp4"
    with pytest.raises(DataError, match=r"DATA.MAX_BROKEN_FRACTION allows.*\n  absent.mp4: missing"):
        run(tiny_config(data, tmp_path / "b", *options, "DATA.MAX_BROKEN_FRACTION", 0.01))


def test_a_run_with_a_changed_list_of_videos_is_not_resumed(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "val", "test"):
        (data / f"{split}.csv").write_text((colour_videos / f"{split}.csv").read_text())
    assert run(tiny_config(data, tmp_path / "out", "TRAIN.MAX_STEPS", 2, "TEST.ENABLE", False)) == 0
    lines = (data / "train.csv").read_text().splitlines()
    path, label = lines[3].rsplit(" ", 1)
    for changed in (lines[1:], [*lines[:3], f"{path} {(int(label) + 1) % 3}", *lines[4:]]):
        (data / "train.csv").write_text("\n".join(changed) + "\n")
        with pytest.raises(CheckpointError, match="another list of training videos"):
            run(tiny_config(data, tmp_path / "out"))


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


def test_without_auto_resume_earlier_checkpoints_are_moved(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TRAIN.MAX_STEPS", 1, "TEST.ENABLE", False, "TRAIN.AUTO_RESUME", False)
    for _ in range(2):
        assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert len(metrics_of(tmp_path, "train_iter")) == 2
    assert sorted(path.name for path in tmp_path.glob("checkpoints*")) == ["checkpoints", "checkpoints.1"]


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


def test_several_nodes_need_an_address(colour_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--init_method tcp://HOST:PORT"):
        run(tiny_config(colour_videos, tmp_path, "NUM_SHARDS", 2))


def test_mixed_precision_and_clipped_gradients_work_on_the_cpu(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TRAIN.MIXED_PRECISION", True, "SOLVER.CLIP_GRAD_L2NORM", 0.01, "TRAIN.MAX_STEPS", 3)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert "mixed, bfloat16" in (tmp_path / "stdout.log").read_text()
    losses = [line["loss"] for line in metrics_of(tmp_path, "train_iter")]
    assert all(loss > 0.7 for loss in losses)  # steps of at most 0.05 × 0.01 change little


def test_checkpoints_within_an_epoch_are_written_by_the_clock(
    unbroken: Path, colour_videos: Path, tmp_path: Path
) -> None:
    often = ("TRAIN.CHECKPOINT_MINUTES", 1e-9, "TRAIN.CHECKPOINT_PERIOD", 3)
    code = run_forked(run_with_signal, tiny_config(colour_videos, tmp_path, *often), signal.SIGKILL, 10)
    assert code == -signal.SIGKILL
    found = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.pyth"))
    # Their number depends on the disk: a checkpoint is skipped while the previous one is being written.
    assert 1 <= len(found) <= 3
    assert all("_step_" in name for name in found)
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


def test_a_changed_optimizer_is_refused_and_a_changed_learning_rate_is_logged(
    colour_videos: Path, tmp_path: Path
) -> None:
    short = ("TRAIN.MAX_STEPS", 2, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *short)) == 0
    with pytest.raises(CheckpointError, match=r"SOLVER.OPTIMIZING_METHOD: 'sgd' → 'adamw'"):
        run(tiny_config(colour_videos, tmp_path, *short, "SOLVER.OPTIMIZING_METHOD", "adamw"))
    assert run(tiny_config(colour_videos, tmp_path, *short, "SOLVER.BASE_LR", 0.01)) == 0
    assert (
        "changed since the checkpoint: SOLVER.BASE_LR: 0.05 → 0.01" in (tmp_path / "stdout.log").read_text()
    )


def test_tensorboard_shows_curves_and_the_confusion_matrix(colour_videos: Path, tmp_path: Path) -> None:
    options = ("TENSORBOARD.ENABLE", True, "TENSORBOARD.CONFUSION_MATRIX.ENABLE", True, "TRAIN.MAX_STEPS", 2)
    assert run(tiny_config(colour_videos, tmp_path, *options, "TEST.ENABLE", False)) == 0
    events = EventAccumulator(str(tmp_path / "runs-kinetics")).Reload()
    assert [event.step for event in events.Scalars("Train/loss")] == [1, 2]
    assert events.Scalars("Val/top1_err")[0].step == 2
    assert events.Images("Confusion Matrix")
