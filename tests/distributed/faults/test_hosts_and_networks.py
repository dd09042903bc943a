"""Runs over several hosts, whose network fails or leads elsewhere; with real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slowfast.engine.prediction_file import load_predictions
from tests.support.cluster.hosts import Hosts, why_no_hosts
from tests.support.cluster.nodes import HALF, PATIENCE, Run, is_at, started, wait_until
from tests.support.run_results import assert_same_end, metrics_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
NO_HOSTS = why_no_hosts()
needs_hosts = pytest.mark.skipif(bool(NO_HOSTS), reason=NO_HOSTS)


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
