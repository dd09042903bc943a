"""Starting the processes of one machine and ending them together."""

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

from slowfast.engine.interrupt import SIGNALS
from slowfast.errors import SlowFastError
from slowfast.log import get_logger

logger = get_logger(__name__)

# What the others get, after one process failed, to end by themselves.
GRACE_SECONDS = 5.0


def launch(function: Callable[..., int], count: int, arguments: tuple[Any, ...]) -> int:
    """Runs ``function(local_rank, *arguments)`` in ``count`` processes and waits for them.

    Signals that ask for an end go on to all processes. When one fails, the others are ended a few seconds
    later; they could only wait for it.

    Returns:
        0 when all returned 0, else the exit code of the first that did not.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_child, args=(function, rank, arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    previous = {signum: signal.signal(signum, lambda s, _: _forward(processes, s)) for signum in SIGNALS}
    try:
        return _wait(processes)
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _child(function: Callable[..., int], rank: int, arguments: tuple[Any, ...]) -> None:
    try:
        code = function(rank, *arguments)
    except SlowFastError as error:
        logger.error("%s", error)
        code = 1
    except BaseException:
        logger.error("process %d of this machine failed:\n%s", rank, traceback.format_exc())
        code = 1
    sys.exit(code)


def _forward(processes: Sequence[BaseProcess], signum: int) -> None:
    for process in processes:
        if process.is_alive() and process.pid is not None and signum != signal.SIGINT:
            # Ctrl-C reaches the children by itself: they are in the terminal's process group.
            os.kill(process.pid, signum)


def _wait(processes: Sequence[BaseProcess]) -> int:
    first_failure = 0
    deadline = float("inf")
    while any(process.is_alive() for process in processes):
        for process in processes:
            process.join(timeout=0.1)
            if process.exitcode and not first_failure:
                first_failure = process.exitcode if process.exitcode > 0 else 128 - process.exitcode
                deadline = time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
            deadline = float("inf")
    return first_failure or max((abs(process.exitcode or 0) for process in processes), default=0)
