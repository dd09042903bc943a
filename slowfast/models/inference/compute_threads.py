"""Torch's threads, divided among threads of the program that compute at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class ComputeThreads:
    """A limit for the threads of the program that compute at once, each with its fraction of torch's threads.

    On a processor, several videos encoded side by side with one thread each take less time than one after
    another with all threads: small operations do not divide well. On a GPU, and for compiled networks, which
    fix the number of threads when they are compiled, one caller computes at a time.

    Args:
        callers: threads of the program that want to compute. No more of them compute at once than torch has
            threads.
    """

    def __init__(self, callers: int = 1) -> None:
        self._total = torch.get_num_threads()
        self._callers = callers
        self._divides = callers > 1
        self._free = threading.Semaphore(max(1, min(callers, self._total)))
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ComputeThreads], tuple[int]]:
        """Makes a copy, perhaps in another process, have locks and threads of its own."""
        return ComputeThreads, (self._callers,)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Waits until the caller may compute; inside, torch uses this caller's fraction of its threads."""
        with self._free:
            if self._divides:
                fraction = max(1, self._total // max(1, self._callers))
                if torch.get_num_threads() != fraction:
                    torch.set_num_threads(fraction)
            yield

    def leave(self) -> None:
        """Reports that a caller has ended, so that the remaining ones get its threads."""
        with self._lock:
            self._callers -= 1

    def restore(self) -> None:
        """Gives the calling thread all of torch's threads again."""
        if self._divides:
            torch.set_num_threads(self._total)
