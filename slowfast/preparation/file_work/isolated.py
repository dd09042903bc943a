"""Work on files in a process each: one that hangs or kills its process costs no more than itself."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Generic, TypeVar

from slowfast.errors import DecodeError

T = TypeVar("T")

# Loaded once by the server from which each process is forked; a process then starts in milliseconds.
_PRELOADED = [
    "slowfast.video.pyav_video",
    "slowfast.preparation.file_work.probe",
    "slowfast.preparation.file_work.transcode",
]

# Problem of a file that a task did not foresee: the task's fault, perhaps.
UNEXPECTED = "unexpected"


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one file.

    Attributes:
        path: the file.
        value: what the task returned; None where it failed.
        problem: short class of the failure; empty where there is none.
        detail: what was said.
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
    """Yields the outcomes of ``task(path)`` as they come, each from a process of its own.

    A process that takes longer than ``time_limit`` seconds is killed: problem ``timeout``. One that ends
    without a word (a decoder's crash, a lack of memory) is problem ``crashed``.

    Args:
        task: can be pickled.
        workers: processes at a time.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    running: dict[Connection, _Running] = {}
    waiting = iter(paths)
    try:
        while True:
            while len(running) < workers and (path := next(waiting, None)) is not None:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(sender, task, path), daemon=True)
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
                    _end(receiver, running.pop(receiver))
                    yield Outcome(entry.path, None, "timeout", f"took longer than {time_limit:g} s")
    finally:
        for receiver, entry in running.items():
            _end(receiver, entry)


def _work(sender: Connection, task: Callable[[str], T], path: str) -> None:
    # Ctrl-C is the main process's to handle; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        outcome = Outcome(path, task(path))
    except DecodeError as error:
        outcome = Outcome(path, None, error.reason, error.detail)
    except MemoryError:
        outcome = Outcome(path, None, "memory", "wants more memory than there is")
    except OSError as error:
        outcome = Outcome(path, None, "unreadable", str(error))
    except Exception as error:
        outcome = Outcome(path, None, UNEXPECTED, f"{type(error).__name__}: {error}")
    sender.send(outcome)


def _receive(receiver: Connection, entry: _Running) -> Outcome[T]:
    try:
        return receiver.recv()
    except EOFError:
        entry.process.join()
        return Outcome(entry.path, None, "crashed", _explain(entry.process.exitcode))
    finally:
        _end(receiver, entry)


def _explain(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"ended by signal {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"


def _end(receiver: Connection, entry: _Running) -> None:
    receiver.close()
    entry.process.kill()
    entry.process.join()
