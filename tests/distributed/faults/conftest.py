"""Runs over two nodes, and hosts for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
