"""Runs over two nodes that lose a process, hang, or get a signal; with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import faulty_run
from tests.support.cluster.nodes import Run, is_at, started, wait_until
from tests.support.run_results import assert_same_end
from tests.support.tiny import tiny_config

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


def test_a_killed_rank_ends_the_other_and_the_same_command_resumes(two: Run, tmp_path: Path) -> None:
    with started(two, SLOW=0.3) as nodes:
        wait_until(is_at(two, 2, 3))
        nodes[1].process.send_signal(signal.SIGKILL)
        assert nodes[0].wait(30) == 1
        assert f"(process {nodes[1].process.pid}): no answer. The process was killed" in nodes[0].printed
    with started(two) as nodes:
        assert [node.wait(120) for node in nodes] == [0, 0]
    assert "resumed from" in two.log()
    unbroken = Run(two.data, tmp_path / "unbroken", 2)
    with started(unbroken) as nodes:
        assert [node.wait(120) for node in nodes] == [0, 0]
    assert_same_end(unbroken.output, two.output)


def test_a_killed_rank_0_ends_the_other_rank(two: Run) -> None:
    with started(two, SLOW=0.3) as nodes:
        wait_until(is_at(two, 1, 3))
        nodes[0].process.send_signal(signal.SIGKILL)
        assert nodes[1].wait(30) == 1
    assert "rank 1: rank 0, or torchrun on its node, is gone" in nodes[1].printed
    assert "the same command resumes from the last checkpoint" in nodes[1].printed


def test_torchrun_restarts_all_processes_when_one_is_killed(two: Run, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(tiny_config(two.data, two.output, "MODEL.MODEL_NAME", "FaultyTiny").dump())
    script = Path(faulty_run.__file__)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--max_restarts", "1"]
    command += ["--master_port", two.new_address().rsplit(":")[-1], str(script), "--cfg", str(config)]
    with (tmp_path / "torchrun.txt").open("w") as terminal:
        process = subprocess.Popen(
            command, stdout=terminal, stderr=subprocess.STDOUT, env={**os.environ, "SLOW": "0.2"}
        )
        wait_until(is_at(two, 2, 3))
        workers = [
            child for child in psutil.Process(process.pid).children() if script.name in str(child.cmdline())
        ]
        workers[-1].kill()
        assert process.wait(150) == 0, (tmp_path / "torchrun.txt").read_text()
    assert "resumed from" in two.log()
    assert "no answer. The process was killed" in two.log()


def test_a_signal_to_one_rank_during_validation_stops_both_in_order(two: Run) -> None:
    options = ("TRAIN.CHECKPOINT_PERIOD", 3)
    with started(two, *options, STOPPED_IN_EVALUATION=1) as nodes:
        assert [node.wait(60) for node in nodes] == [143, 143]
    assert "Traceback" not in nodes[0].printed + nodes[1].printed
    saved = two.output / "checkpoints" / "checkpoint_epoch_00001.pyth"
    assert f"saved {saved}" in two.log(1)
    assert saved.exists()
    with started(two, *options) as nodes:
        assert [node.wait(120) for node in nodes] == [0, 0]


def test_a_killed_loader_worker_changes_no_result(colour_videos: Path, tmp_path: Path) -> None:
    worker = ("DATA_LOADER.NUM_WORKERS", 1, "TRAIN.BATCH_SIZE", 4)
    run, unbroken = (Run(colour_videos, tmp_path / name, 1) for name in ("killed", "unbroken"))
    (node,) = run.start(*worker, SLOW=0.3)
    wait_until(is_at(run, 1, 3))
    for child in psutil.Process(node.process.pid).children():
        child.kill()
    assert node.wait(120) == 0
    assert "is restarted" in node.printed
    (node,) = unbroken.start(*worker)
    assert node.wait(120) == 0
    assert_same_end(unbroken.output, run.output)


def test_a_hang_is_reported_with_the_stacks_of_all_ranks(two: Run) -> None:
    with started(two, "DIST_TIMEOUT", 6.0, FAULT="hangs:1:3") as nodes:
        assert [node.wait(90) for node in nodes] == [1, 1]
    assert "for a step of all ranks; DIST_TIMEOUT allows 6 s" in nodes[0].printed
    assert "location of each rank:\n  rank 0: " in nodes[0].printed
    assert "stdout_rank*.log" in nodes[0].printed
    assert "in fail" in two.log(1)
    assert "in run_epochs" in two.log(0)


def test_a_suspended_process_is_reported(two: Run) -> None:
    with started(two, "DIST_TIMEOUT", 8.0, SLOW=0.3) as nodes:
        wait_until(is_at(two, 1, 3))
        nodes[1].process.send_signal(signal.SIGSTOP)
        assert nodes[0].wait(60) == 1
        assert "  rank 1: no answer" in nodes[0].printed
        nodes[1].process.send_signal(signal.SIGCONT)
        assert nodes[1].wait(60) == 1


def test_an_exception_on_any_rank_is_printed_first_and_ends_all(two: Run) -> None:
    with started(two, FAULT="raises:1:3") as nodes:
        wait_until(lambda: "a defect of the model" in nodes[0].printed, 90)
        begun = time.monotonic()
        assert [node.wait(30) for node in nodes] == [1, 1]
        assert time.monotonic() - begun < 15
    errors = nodes[0].printed[nodes[0].printed.index("rank 1 on ") :]
    assert errors.index("Traceback") < errors.index("ValueError: a defect of the model")
    assert "in fail" in errors
    assert nodes[0].printed.count("Traceback") == 1
    assert nodes[1].printed == ""
    assert "ValueError: a defect of the model" in two.log(1)
