"""One worker process of a loader, as the main process sees it."""

from __future__ import annotations

import multiprocessing.process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from slowfast.datasets.loading.quarantine import Quarantine, Reading

# Seconds to wait for a killed process; one that is blocked on a dead disk is left behind.
_JOIN_SECONDS = 5.0


@dataclass
class Worker:
    """A worker process, its connection and its tasks.

    Attributes:
        tasks: batch number -> items; assigned batches that have not arrived yet.
        stuck_at, stuck_seconds: the state last observed, and the seconds for which it was observed while a
            batch was awaited.
    """

    number: int
    process: multiprocessing.process.BaseProcess
    connection: Connection
    quarantine: Quarantine
    tasks: dict[int, Sequence[Any]] = field(default_factory=dict)
    stuck_at: Reading | None = None
    stuck_seconds: float = 0.0

    def assign(self, number: int, items: Sequence[Any]) -> None:
        """Sends the items of a batch to the worker."""
        self.tasks[number] = items
        # A dead worker is detected and replaced by the next poll.
        with suppress(OSError):
            self.connection.send((number, items))

    def kill(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.join(_JOIN_SECONDS)
