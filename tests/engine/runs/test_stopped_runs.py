"""Runs that are stopped or killed, and resumed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from slowfast.engine.run import run
from tests.support import tiny
from tests.support.processes import run_forked
from tests.support.run_results import assert_same_end, metrics_of, run_nodes, run_with_signal
from tests.support.tiny import tiny_config


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
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if '"epoch": "2/100"' in line and '"iter": "3/6"' in line:
                os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
    assert sum("stopping at the next safe point" in line for line in lines) == 1  # it may take minutes
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


KILLS = 20


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", [1, 2])
def test_a_run_killed_twenty_times_ends_with_the_same_weights(
    colour_videos: Path, tmp_path: Path, size: int
) -> None:
    """With averaged weights, one loader worker per process, and checkpoints as often as possible."""
    common = ("TRAIN.BATCH_SIZE", 4 // size, "DATA_LOADER.NUM_WORKERS", 1)
    common += ("DETERMINISTIC", True, "MODEL_EMA.ENABLE", True)
    often = ("TRAIN.CHECKPOINT_MINUTES", 1e-9, "SOLVER.MAX_EPOCH", 3)
    rng = random.Random(size)

    assert run_nodes(size, colour_videos, tmp_path / "unbroken", *common) == [0] * size
    for _ in range(KILLS):
        # In the first or second step, so that twenty restarts do not reach the end.
        victim, step = rng.randrange(size), rng.randrange(1, 3)

        def kill_one(cfg: CfgNode, address: str, victim: int = victim, step: int = step) -> int:
            return run_with_signal(cfg, signal.SIGKILL, step if victim == cfg.SHARD_ID else 0, address)

        codes = run_nodes(size, colour_videos, tmp_path / "killed", *common, *often, work=kill_one)
        assert codes[victim] == -signal.SIGKILL
        assert all(codes)
    assert run_nodes(size, colour_videos, tmp_path / "killed", *common) == [0] * size
    assert_same_end(tmp_path / "unbroken", tmp_path / "killed")
