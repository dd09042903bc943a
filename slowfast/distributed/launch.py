"""Start of the processes of one node, and their common end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from slowfast.errors import SlowFastError
from slowfast.exit_status import EXIT_ERROR, EXIT_INTERRUPTED, exit_status_of
from slowfast.files import share_temporary_folder
from slowfast.interrupt import Interrupt, sparing_new_processes, stop_when_parent_ends
from slowfast.log import printable

# Seconds for the other processes to report and end by themselves after one has failed.
GRACE_SECONDS = 20.0
# Characters of an error; a pipe holds 64 KiB.
_LONGEST_ERROR = 6000


def launch(function: Callable[..., int], count: int, arguments: tuple[Any, ...]) -> int:
    """Runs ``function(local_rank, *arguments)`` in ``count`` processes and waits for them.

    A signal that asks for an end is forwarded to all processes. When one process fails, its error is printed,
    and the others, which could only wait for it, are ended after ``GRACE_SECONDS``.

    Returns:
        0 where all processes returned 0, else the exit code of the first that did not.

    Raises:
        KeyboardInterrupt: after a second Ctrl-C, which ends all processes at once.
    """
    share_temporary_folder()  # a process that does not end by itself is killed
    context = multiprocessing.get_context("spawn")
    errors = context.SimpleQueue()
    processes = [
        context.Process(target=_run_child, args=(function, rank, arguments, errors)) for rank in range(count)
    ]
    with Interrupt() as interrupt:
        with sparing_new_processes(context):
            for process in processes:
                process.start()
        try:
            code = _wait(processes, interrupt)
        except KeyboardInterrupt:
            for process in processes:
                process.kill()
                process.join()
            raise
    if not errors.empty():
        # The first error is the cause, the others follow from it.
        print(printable(errors.get()), file=sys.stderr)
    elif killed := [
        f"{number} by {signal.Signals(-status).name}"
        for number, process in enumerate(processes)
        if (status := process.exitcode or 0) < 0
    ]:
        print(f"processes of this node were ended: {', '.join(killed)}", file=sys.stderr)
    return code


def _run_child(function: Callable[..., int], rank: int, arguments: tuple[Any, ...], errors: Any) -> None:
    stop_when_parent_ends()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        code = function(rank, *arguments)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
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


def _wait(processes: Sequence[BaseProcess], interrupt: Interrupt) -> int:
    """Waits for the end of all processes, and forwards a request to stop to them once."""
    code, deadline, forwarded = 0, float("inf"), False
    while any(process.is_alive() for process in processes):
        if interrupt.requested() and not forwarded:
            forwarded = True
            for process in processes:
                if process.is_alive() and process.pid is not None:
                    os.kill(process.pid, interrupt.signum)
        for process in processes:
            process.join(timeout=0.1)
        if not code and (code := _first_failure(processes)):
            deadline = time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
    return code or _first_failure(processes)


def _first_failure(processes: Sequence[BaseProcess]) -> int:
    """Returns the exit code of a failed process, 128 + the number for a signal; 0 where none failed."""
    code = next((process.exitcode for process in processes if process.exitcode), 0)
    return code if code >= 0 else 128 - code
