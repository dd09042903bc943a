"""Work on files in one process per file, so that a file that hangs or crashes stops no other.

``concurrent.futures`` ends the whole pool when one of its processes dies, and cannot end a task that hangs.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Generic, TypeVar

from slowfast.errors import DecodeError

T = TypeVar("T")

# Imported once by the server that forks each process, so that a process starts in milliseconds.
_PRELOADED = [
    "slowfast.video.pyav_video",
    "slowfast.preparation.file_work.probe",
    "slowfast.preparation.file_work.transcode",
]

# Reason for an exception that the task did not expect, and that may be a defect of the task.
UNEXPECTED = "unexpected"


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The outcome of the work on one file.

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


@dataclass(frozen=True)
class _Running:
    path: str
    process: ForkServerProcess
    deadline: float


def run_isolated(
    task: Callable[[str], T], paths: Iterable[str], *, workers: int, time_limit: float
) -> Iterator[Outcome[T]]:
    """Yields the outcomes of ``task(path)`` as they finish, each from a process of its own.

    A process that takes longer than ``time_limit`` seconds is killed: problem ``timeout``. One that ends
    without a result (a crash of the decoder, a lack of memory) is problem ``crashed``.

    Args:
        task: a function that can be pickled.
        workers: number of processes at a time.
        time_limit: seconds per file.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    _start_server()
    running: dict[Connection, _Running] = {}
    remaining = iter(paths)
    try:
        while True:
            while len(running) < workers and (path := next(remaining, None)) is not None:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_run_task, args=(sender, task, path), daemon=True)
                process.start()
                sender.close()
                running[receiver] = _Running(path, process, time.monotonic() + time_limit)
            if not running:
                return
            first_deadline = min(entry.deadline for entry in running.values())
            ready = wait(list(running), timeout=max(first_deadline - time.monotonic(), 0))
            for receiver in [connection for connection in running if connection in ready]:
                yield _receive(receiver, running.pop(receiver))
            for receiver, entry in list(running.items()):
                if entry.deadline <= time.monotonic():
                    _terminate(receiver, running.pop(receiver))
                    yield Outcome(entry.path, None, "timeout", f"took longer than {time_limit:g} s")
    finally:
        for receiver, entry in running.items():
            _terminate(receiver, entry)


def _start_server() -> None:
    """Starts the server that forks the processes, unless it runs; Ctrl-C does not reach it.

    It ignores Ctrl-C by itself only after its imports, which take seconds, and would print a traceback.
    """
    resource_tracker.ensure_running()  # first, since its start unblocks the signal
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which new processes inherit
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _run_task(sender: Connection, task: Callable[[str], T], path: str) -> None:
    # Ctrl-C is handled by the main process, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        outcome = Outcome(path, task(path))
    except DecodeError as error:
        outcome = Outcome(path, None, error.reason, error.detail)
    except MemoryError:
        outcome = Outcome(path, None, "memory", "not enough memory")
    except OSError as error:
        outcome = Outcome(path, None, "unreadable", str(error))
    except Exception as error:
        outcome = Outcome(path, None, UNEXPECTED, f"{type(error).__name__}: {error}")
    with suppress(BrokenPipeError):  # the main process has ended
        sender.send(outcome)


def _receive(receiver: Connection, entry: _Running) -> Outcome[T]:
    try:
        return receiver.recv()
    except EOFError:
        entry.process.join()
        return Outcome(entry.path, None, "crashed", _describe_exit(entry.process.exitcode))
    finally:
        _terminate(receiver, entry)


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"ended by signal {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"


def _terminate(receiver: Connection, entry: _Running) -> None:
    receiver.close()
    entry.process.kill()
    entry.process.join()
