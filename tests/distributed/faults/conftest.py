"""Runs over two nodes, and hosts for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster.hosts import Hosts, made_hosts
from tests.support.cluster.nodes import Run


@pytest.fixture
def two(colour_videos: Path, tmp_path: Path) -> Run:
    """A run over two nodes with the same address."""
    return Run(colour_videos, tmp_path / "out", 2)


@pytest.fixture
def hosts() -> Iterator[Callable[[int], Hosts]]:
    """Returns a function that makes hosts, which are removed after the test."""
    with ExitStack() as stack:
        yield lambda count: stack.enter_context(made_hosts(count))
