"""Nodes of a run, each a process of its own with its own terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.distributed.world import free_local_address
from tests.support.cluster import faulty_run
from tests.support.cluster.hosts import Hosts
from tests.support.tiny import tiny_config

HALF = ("TRAIN.BATCH_SIZE", 2)
# Long enough for two busy cores, short enough for a test.
PATIENCE = ("DIST_TIMEOUT", 15.0)


@dataclass
class Node:
    """The process of one node; ``printed`` is its output in the terminal."""

    process: subprocess.Popen[str]
    terminal: Path

    @property
    def printed(self) -> str:
        return self.terminal.read_text()

    def wait(self, seconds: float) -> int:
        """Returns the exit code; kills the process where it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(
                f"the process did not end within {seconds} s; its output:\n{self.printed}"
            ) from None


@dataclass
class Run:
    """A run over several nodes that share the folder ``output``."""

    data: Path
    output: Path
    size: int
    hosts: Hosts | None = None
    started: int = 0

    def start(self, *changes: Any, **environment: Any) -> list[Node]:
        """Starts all nodes; ``changes`` are ``KEY, value`` pairs for all of them."""
        address = self.new_address()
        return [self.start_one(shard, address, *changes, **environment) for shard in range(self.size)]

    def new_address(self) -> str:
        if self.hosts is None:
            return free_local_address()
        return f"tcp://{self.hosts.address(0)}:29500"

    def start_one(
        self, shard: int, address: str, *changes: Any, host: int | None = None, **environment: Any
    ) -> Node:
        """Starts node ``shard`` on ``host`` (the same number)."""
        changes = ("MODEL.MODEL_NAME", "FaultyTiny", "NUM_SHARDS", self.size, *changes)
        self.started += 1
        name = self.data.parent / f"{self.output.parent.name}_{self.output.name}_{self.started}"
        config = name.with_suffix(".yaml")
        config.write_text(tiny_config(self.data, self.output, *changes).dump())
        command = [sys.executable, faulty_run.__file__, "--cfg", str(config)]
        command += ["--shard_id", str(shard), "--init_method", address]
        if self.hosts is not None:
            command = self.hosts.command(shard if host is None else host, *command)
        terminal = name.with_suffix(".txt")
        with terminal.open("w") as file:
            added = {key: str(value) for key, value in environment.items()}
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, text=True, env={**os.environ, **added}
            )
        return Node(process, terminal)

    def log(self, rank: int = 0) -> str:
        path = self.output / ("stdout.log" if rank == 0 else f"stdout_rank{rank}.log")
        return path.read_text() if path.exists() else ""


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def end_all(nodes: list[Node]) -> None:
    for node in nodes:
        if node.process.poll() is None:
            node.process.kill()
        node.process.wait()


@contextmanager
def started(run: Run, *changes: object, **environment: object) -> Iterator[list[Node]]:
    """Starts all nodes of a run; ends those that are left."""
    nodes = run.start(*HALF, *changes, **environment)
    try:
        yield nodes
    finally:
        end_all(nodes)


def is_at(run: Run, epoch: int, step: int) -> Callable[[], bool]:
    """Returns a function that returns whether rank 0 has logged this step."""
    return lambda: f'"epoch": "{epoch}/3"' in run.log() and f'"iter": "{step}/6"' in run.log()
