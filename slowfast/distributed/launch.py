"""Start of the processes of one node, and their common end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from slowfast.errors import SlowFastError
from slowfast.exit_status import EXIT_ERROR, exit_status_of
from slowfast.files import share_temporary_folder
from slowfast.interrupt import SIGNALS

# Seconds for the other processes to report and end by themselves after one has failed.
GRACE_SECONDS = 20.0
# Characters of an error; a pipe holds 64 KiB.
_LONGEST_ERROR = 6000


def launch(function: Callable[..., int], count: int, arguments: tuple[Any, ...]) -> int:
    """Runs ``function(local_rank, *arguments)`` in ``count`` processes and waits for them.

    Signals that ask for an end are forwarded to all processes. When one process fails, its error is printed,
    and the others, which could only wait for it, are ended after ``GRACE_SECONDS``.

    Returns:
        0 where all processes returned 0, else the exit code of the first that did not.
    """
    share_temporary_folder()  # a process that does not end by itself is killed
    context = multiprocessing.get_context("spawn")
    errors = context.SimpleQueue()
    processes = [
        context.Process(target=_run_child, args=(function, rank, arguments, errors)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    with _forwarding_signals(processes):
        code = _wait(processes)
    if not errors.empty():
        print(errors.get(), file=sys.stderr)  # the first error is the cause, the others follow from it
    elif killed := [
        f"{number} by {_signal_name(process)}"
        for number, process in enumerate(processes)
        if _signal_name(process)
    ]:
        print(f"processes of this node were ended: {', '.join(killed)}", file=sys.stderr)
    return code


def _run_child(function: Callable[..., int], rank: int, arguments: tuple[Any, ...], errors: Any) -> None:
    try:
        code = function(rank, *arguments)
    except SlowFastError as error:
        errors.put(_shorten(str(error)))
        code = exit_status_of(error)
    except BaseException:
        errors.put(_shorten(f"process {rank} of this node failed:\n{traceback.format_exc()}"))
        code = EXIT_ERROR
    sys.exit(code)


def _shorten(text: str) -> str:
    """Returns the text without its middle where it is long.

    A process waits at a full pipe, and the queue is read only after the processes have ended.
    """
    half = _LONGEST_ERROR // 2
    return text if len(text) <= _LONGEST_ERROR else f"{text[:half]}\n[…]\n{text[-half:]}"


@contextlib.contextmanager
def _forwarding_signals(processes: Sequence[BaseProcess]) -> Iterator[None]:
    def forward(signum: int, _: object) -> None:
        for process in processes:
            # Ctrl-C reaches the children directly: they belong to the terminal's process group.
            if process.is_alive() and process.pid is not None and signum != signal.SIGINT:
                os.kill(process.pid, signum)

    previous = {signum: signal.signal(signum, forward) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _wait(processes: Sequence[BaseProcess]) -> int:
    code, deadline = 0, float("inf")
    while any(process.is_alive() for process in processes):
        for process in processes:
            process.join(timeout=0.1)
        if not code and (code := _first_failure(processes)):
            deadline = time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
    return code or _first_failure(processes)


def _signal_name(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else ""


def _first_failure(processes: Sequence[BaseProcess]) -> int:
    """Returns the exit code of a failed process, 128 + the number for a signal; 0 where none failed."""
    codes = [process.exitcode for process in processes if process.exitcode]
    return codes[0] if codes and codes[0] > 0 else 128 - codes[0] if codes else 0
