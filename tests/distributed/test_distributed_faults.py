"""Runs over several nodes that lose a process or a network, hang, or start wrongly; with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import slowfast
from slowfast.checkpoint.storage import verify
from slowfast.engine.prediction_file import load_predictions
from tests.support.cluster import faulty_run
from tests.support.cluster.hosts import Hosts, made_hosts, why_no_hosts
from tests.support.cluster.nodes import Node, Run, end_all, wait_until
from tests.support.run_results import assert_same_end, metrics_of
from tests.support.tiny import tiny_config

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

NO_HOSTS = why_no_hosts()
needs_hosts = pytest.mark.skipif(bool(NO_HOSTS), reason=NO_HOSTS)
HALF = ("TRAIN.BATCH_SIZE", 2)
# Long enough for two busy cores, short enough for a test.
PATIENCE = ("DIST_TIMEOUT", 15.0)


@pytest.fixture
def two(colour_videos: Path, tmp_path: Path) -> Run:
    """A run over two nodes with the same address."""
    return Run(colour_videos, tmp_path / "out", 2)


@pytest.fixture
def hosts() -> Iterator[Callable[[int], Hosts]]:
    """Returns a function that makes hosts, which are removed after the test."""
    with contextmanager(_hosts_of_a_test)() as make:
        yield make


def _hosts_of_a_test() -> Iterator[Callable[[int], Hosts]]:
    managers = []

    def make(count: int) -> Hosts:
        managers.append(made_hosts(count))
        return managers[-1].__enter__()

    try:
        yield make
    finally:
        for manager in managers:
            manager.__exit__(None, None, None)


@contextmanager
def started(run: Run, *changes: object, **environment: object) -> Iterator[list[Node]]:
    nodes = run.start(*HALF, *changes, **environment)
    try:
        yield nodes
    finally:
        end_all(nodes)


def is_at(run: Run, epoch: int, step: int) -> Callable[[], bool]:
    return lambda: f'"epoch": "{epoch}/3"' in run.log() and f'"iter": "{step}/6"' in run.log()


# ------------------------------------------------------------------------------- hosts and networks


@needs_hosts
@pytest.mark.parametrize("size", [2, 3])
def test_several_hosts_train_and_test_like_one_process(
    hosts: Callable[[int], Hosts], colour_videos: Path, tmp_path: Path, size: int
) -> None:
    options = ("MODEL.DROPOUT_RATE", 0.0, "SOLVER.MAX_EPOCH", 2)
    alone = Run(colour_videos, tmp_path / "alone", 1)
    (node,) = alone.start("TRAIN.BATCH_SIZE", 6, *options)
    assert node.wait(120) == 0
    run = Run(colour_videos, tmp_path / "many", size, hosts(size))
    nodes = run.start("TRAIN.BATCH_SIZE", 6 // size, *options)
    assert [node.wait(120) for node in nodes] == [0] * size
    one, many = (metrics_of(folder, "train_iter") for folder in (alone.output, run.output))
    assert [line["loss"] for line in many] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    ours, theirs = (load_predictions(folder / "predictions.npz") for folder in (alone.output, run.output))
    assert ours.paths == theirs.paths
    assert abs(ours.scores - theirs.scores).max() < 1e-5
    assert f"6 clips per step = {size} processes × {6 // size}" in run.log()
    assert "gloo uses eth0" in run.log()
    assert [node.printed for node in nodes[1:]] == [""] * (size - 1)  # only rank 0 prints
    assert all(f"this is rank {rank}" in run.log(rank) for rank in range(size))


@needs_hosts
def test_a_network_lost_for_five_seconds_changes_no_result(
    hosts: Callable[[int], Hosts], colour_videos: Path, tmp_path: Path
) -> None:
    run = Run(colour_videos, tmp_path / "cut", 2, hosts(2))
    with started(run, *PATIENCE, SLOW=0.3) as nodes:
        wait_until(is_at(run, 1, 3))
        assert run.hosts is not None
        run.hosts.cut_link(1)
        time.sleep(5)
        run.hosts.restore_link(1)
        assert [node.wait(120) for node in nodes] == [0, 0]
    unbroken = Run(colour_videos, tmp_path / "unbroken", 2)
    with started(unbroken) as nodes:
        assert [node.wait(120) for node in nodes] == [0, 0]
    assert_same_end(unbroken.output, run.output)


@needs_hosts
def test_a_network_lost_for_good_ends_both_nodes_in_time(
    hosts: Callable[[int], Hosts], colour_videos: Path, tmp_path: Path
) -> None:
    run = Run(colour_videos, tmp_path / "cut", 2, hosts(2))
    with started(run, *PATIENCE, SLOW=0.3) as nodes:
        wait_until(is_at(run, 1, 3))
        assert run.hosts is not None
        run.hosts.cut_link(1)
        assert [node.wait(60) for node in nodes] == [1, 1]
        assert "rank 1 on " in nodes[0].printed
        assert "the same command resumes from the last checkpoint" in nodes[0].printed
        assert "rank 0 did not answer for" in nodes[1].printed
        assert "in run_epochs" in run.log(0)  # the stacks
        assert "in run_epochs" in run.log(1)


@needs_hosts
def test_the_same_shard_id_on_two_hosts_is_reported_by_all_nodes(
    hosts: Callable[[int], Hosts], colour_videos: Path, tmp_path: Path
) -> None:
    run = Run(colour_videos, tmp_path / "out", 3, hosts(3))
    address = run.new_address()
    patience = ("DIST_START_TIMEOUT", 60.0, *HALF)
    nodes = [run.start_one(shard, address, *patience, host=host) for host, shard in enumerate((0, 1, 1))]
    assert [node.wait(60) for node in nodes] == [1, 1, 1]
    assert all("rank 1 was started twice" in node.printed for node in nodes)
    assert all("give each node a --shard_id of its own" in node.printed for node in nodes)


@needs_hosts
def test_a_second_node_0_is_reported_by_both(
    hosts: Callable[[int], Hosts], colour_videos: Path, tmp_path: Path
) -> None:
    run = Run(colour_videos, tmp_path / "out", 2, hosts(2))
    address = run.new_address()
    patience = ("DIST_START_TIMEOUT", 60.0, *HALF)
    first = run.start_one(0, address, *patience, host=0)
    wait_until(lambda: "waiting" in first.printed or first.process.poll() is not None or _listens(run))
    second = run.start_one(0, address, *patience, host=1)
    assert [first.wait(60), second.wait(60)] == [1, 1]
    assert all("rank 0 was started twice" in node.printed for node in (first, second))


def _listens(run: Run) -> bool:
    assert run.hosts is not None
    command = run.hosts.command(0, sys.executable, "-c", "print(open('/proc/net/tcp6').read())")
    return ":733C " in subprocess.run(command, capture_output=True, text=True, check=True).stdout  # 29500


@needs_hosts
def test_an_unreachable_rank_0_is_reported_in_time(
    hosts: Callable[[int], Hosts], colour_videos: Path, tmp_path: Path
) -> None:
    run = Run(colour_videos, tmp_path / "out", 2, hosts(2))
    begun = time.monotonic()
    node = run.start_one(1, "tcp://10.83.9.9:29500", "DIST_START_TIMEOUT", 3.0, *HALF)
    assert node.wait(60) == 1
    assert "cannot reach rank 0 at 10.83.9.9:29500 within 3 s" in node.printed
    assert "start node 0" in node.printed
    assert time.monotonic() - begun < 45


# ------------------------------------------------------------------------------------ lost and hung


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


# ---------------------------------------------------------------------------------- wrong worlds


def test_a_rank_that_never_arrives_is_reported(two: Run) -> None:
    begun = time.monotonic()
    node = two.start_one(0, two.new_address(), "DIST_START_TIMEOUT", 3.0, *HALF)
    assert node.wait(60) == 1
    assert "rank 1 of 2 did not arrive within 3 s" in node.printed
    assert time.monotonic() - begun < 45


def test_different_code_is_refused(two: Run, tmp_path: Path) -> None:
    """The second node has a changed copy of the package."""
    copy = tmp_path / "copy"
    shutil.copytree(Path(slowfast.__file__).parent, copy / "slowfast")
    with (copy / "slowfast" / "metrics.py").open("a") as file:
        file.write("# changed\n")
    address = two.new_address()
    nodes = [two.start_one(0, address, *HALF), two.start_one(1, address, *HALF, PYTHONPATH=copy)]
    assert [node.wait(60) for node in nodes] == [1, 1]
    for node in nodes:
        assert "rank 1 has other sources: slowfast/metrics.py" in node.printed
        assert "install the same everywhere" in node.printed


def test_a_problem_of_one_node_at_start_is_reported_by_all(two: Run) -> None:
    (two.output / "stdout_rank1.log").mkdir(parents=True)  # where its log should be
    with started(two) as nodes:
        assert [node.wait(60) for node in nodes] == [1, 1]
    for node in nodes:
        assert "rank 1 on " in node.printed
        assert "stdout_rank1.log (Is a directory)" in node.printed


# ------------------------------------------------------------------------------------------- disks


@contextmanager
def small_disk(folder: Path, size: str, *, read_only: bool = False) -> Iterator[None]:
    """A disk in memory, mounted at ``folder``."""
    folder.mkdir()
    options = f"size={size}" + (",ro" if read_only else "")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_error_and_keeps_earlier_checkpoints(colour_videos: Path, tmp_path: Path) -> None:
    run, unbroken = (
        Run(colour_videos, tmp_path / "disk" / "out", 1),
        Run(colour_videos, tmp_path / "whole", 1),
    )
    batch = ("TRAIN.BATCH_SIZE", 4, "TRAIN.EVAL_PERIOD", 3)
    with small_disk(tmp_path / "disk", "1m"):
        (node,) = run.start(*batch, SLOW=0.2)
        first = run.output / "checkpoints" / "checkpoint_epoch_00001.pyth"
        wait_until(first.exists)
        ballast = tmp_path / "disk" / "ballast"
        with ballast.open("wb") as file, pytest.raises(OSError, match="No space left"):
            file.write(bytes(1 << 20))
        assert node.wait(120) == 1
        assert "the disk is full" in node.printed
        assert "earlier checkpoints are intact" in node.printed
        assert "Traceback" not in node.printed
        verify(first)
        assert not list(first.parent.glob(".*writing*"))
        ballast.unlink()
        (node,) = run.start(*batch)
        assert node.wait(120) == 0, node.printed
        (node,) = unbroken.start(*batch)
        assert node.wait(120) == 0
        assert_same_end(unbroken.output, run.output)


def test_a_read_only_folder_is_refused_before_any_work(colour_videos: Path, tmp_path: Path) -> None:
    run = Run(colour_videos, tmp_path / "disk" / "out", 1)
    with small_disk(tmp_path / "disk", "1m", read_only=True):
        run.output = tmp_path / "disk" / "out"
        config = Run(colour_videos, tmp_path / "ok", 1)
        (node,) = config.start("TRAIN.BATCH_SIZE", 4, "OUTPUT_DIR", str(run.output))
        assert node.wait(60) == 2
    assert "OUTPUT_DIR" in node.printed
    assert "cannot be written to; choose another folder" in node.printed
    assert "Traceback" not in node.printed
