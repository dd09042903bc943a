"""Runs over two nodes that start wrongly; with real processes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

import slowfast
from tests.support.cluster.nodes import HALF, Run, started

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


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
    with (copy / "slowfast" / "progress.py").open("a") as file:
        file.write("# changed\n")
    address = two.new_address()
    nodes = [two.start_one(0, address, *HALF), two.start_one(1, address, *HALF, PYTHONPATH=copy)]
    assert [node.wait(60) for node in nodes] == [1, 1]
    for node in nodes:
        assert "rank 1 has other sources: slowfast/progress.py" in node.printed
        assert "install the same everywhere" in node.printed


def test_a_problem_of_one_node_at_start_is_reported_by_all(two: Run) -> None:
    (two.output / "stdout_rank1.log").mkdir(parents=True)  # where its log should be
    with started(two) as nodes:
        assert [node.wait(60) for node in nodes] == [1, 1]
    for node in nodes:
        assert "rank 1 on " in node.printed
        assert "stdout_rank1.log (Is a directory)" in node.printed
