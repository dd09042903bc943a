"""Work on files in processes of their own, so that a file that hangs or crashes stops no other.

``concurrent.futures`` ends the whole pool when one of its processes dies, and cannot end a task that hangs.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from slowfast.errors import DecodeError
from slowfast.exit_status import describe_exit
from slowfast.interrupt import sparing_new_processes

T = TypeVar("T")

# Seconds that a process may take to start.
_START_SECONDS = 60.0
# Imported once by the server that forks each process.
_PRELOADED = [
    "slowfast.video.pyav_video",
    "slowfast.preparation.file_work.video_facts",
    "slowfast.preparation.file_work.transcode",
]

# Reason for an exception that the task did not expect, and that may be a defect of the task.
UNEXPECTED = "unexpected"


@dataclass(frozen=True)
class FileResult(Generic[T]):
    """The result of the work on one file.

    Attributes:
        path: the file.
        value: the result of the task; None where it failed.
        problem: short class of the failure; empty on success.
        detail: description of the failure.
    """

    path: str
    value: T | None = None
    problem: str = ""
    detail: str = ""


def run_isolated(
    task: Callable[[str], T], paths: Iterable[str], *, workers: int, time_limit: float
) -> Iterator[FileResult[T]]:
    """Yields the outcomes of ``task(path)`` as they finish, each from a process that works on nothing else.

    A process that takes longer than ``time_limit`` seconds is killed: problem ``timeout``. One that ends
    without a result (a crash of the decoder, a lack of memory) is problem ``crashed``. Other processes take
    the next file.

    Args:
        task: a function that can be pickled.
        workers: number of processes at a time.
        time_limit: seconds per file.
    """
    context = _prepare_context()
    idle: list[_Worker[T]] = []
    running: dict[Connection, _Worker[T]] = {}
    remaining = iter(paths)

    def start(worker: _Worker[T], path: str) -> None:
        worker.assign(path)
        running[worker.connection] = worker

    try:
        while True:
            while len(running) < workers and (path := next(remaining, None)) is not None:
                start(idle.pop() if idle else _Worker(context, task, time_limit), path)
            if not running:
                return
            first_deadline = min(worker.deadline for worker in running.values())
            ready = wait(list(running), timeout=max(first_deadline - time.monotonic(), 0))
            for connection, worker in list(running.items()):
                if connection in ready:
                    if (outcome := worker.receive()) is None:
                        continue
                    del running[connection]
                    if worker.is_alive:
                        idle.append(worker)
                    elif worker.num_files > 1:  # an earlier file may have damaged its memory
                        start(_Worker(context, task, time_limit), worker.path)
                        continue
                    yield outcome
                elif worker.deadline <= time.monotonic() and not connection.poll():
                    worker.terminate()
                    del running[connection]
                    yield FileResult(worker.path, None, "timeout", f"took longer than {time_limit:g} s")
    finally:
        for worker in (*running.values(), *idle):
            worker.terminate()


class _Worker(Generic[T]):
    """A process that works on one file after another.

    Attributes:
        connection: ready where an outcome has come, or the process has ended.
        path: the file that it works on, or has worked on last.
        deadline: of that file, on the monotonic clock; the start of the process has one of its own.
        num_files: number of files that it was given.
        is_alive: False after it has ended.
    """

    def __init__(self, context: Any, task: Callable[[str], T], time_limit: float) -> None:
        self.path, self.deadline, self.num_files, self.is_alive = "", 0.0, 0, True
        self._time_limit, self._is_started = time_limit, False
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_run_tasks, args=(other, task), daemon=True)
        with sparing_new_processes(context):
            self._process.start()
        other.close()

    def assign(self, path: str) -> None:
        """Gives the process a file."""
        seconds = self._time_limit if self._is_started else self._time_limit + _START_SECONDS
        self.path, self.deadline = path, time.monotonic() + seconds
        self.num_files += 1
        with suppress(OSError):  # it has ended, which is noticed as for any file
            self.connection.send(path)

    def receive(self) -> FileResult[T] | None:
        """Returns the outcome of the file; None: the process has started, and works on it from now on."""
        try:
            outcome: FileResult[T] | None = self.connection.recv()
            if outcome is None:
                self._is_started, self.deadline = True, time.monotonic() + self._time_limit
            return outcome
        except (EOFError, OSError):
            self.terminate(kill=False)
            return FileResult(self.path, None, "crashed", describe_exit(self._process.exitcode))

    def terminate(self, *, kill: bool = True) -> None:
        """Waits for the end of the process, which is killed unless it ends by itself."""
        self.is_alive = False
        self.connection.close()
        if kill:
            self._process.kill()
        self._process.join()


def _prepare_context() -> Any:
    """Returns the ``multiprocessing`` context of the processes; on Linux a server forks them.

    Libraries of macOS, such as the one by which NumPy multiplies matrices, end processes that were forked
    after their import.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with sparing_new_processes(context):  # the server ignores Ctrl-C by itself, but only after its imports
        forkserver.ensure_running()
    return context


def _run_tasks(connection: Connection, task: Callable[[str], T]) -> None:
    # Ctrl-C is handled by the main process, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):  # the main process has ended
        connection.send(None)
        while True:
            path = connection.recv()
            connection.send(_run_task(task, path))


def _run_task(task: Callable[[str], T], path: str) -> FileResult[T]:
    try:
        return FileResult(path, task(path))
    except DecodeError as error:
        return FileResult(path, None, error.reason, error.detail)
    except MemoryError:
        return FileResult(path, None, "memory", "not enough memory")
    except OSError as error:
        return FileResult(path, None, "unreadable", str(error))
    except Exception as error:
        return FileResult(path, None, UNEXPECTED, f"{type(error).__name__}: {error}")
