"""Stopping a run by a signal: Ctrl-C, ``kill``, or a job scheduler.

The first signal requests a stop at the next safe point, where a checkpoint can be saved. A second Ctrl-C
ends the run at once; of a run of several processes, their parent does that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from types import FrameType, TracebackType
from typing import Any

# Seconds between two checks whether torchrun still exists.
_CHECK_SECONDS = 0.2

# Job schedulers announce the end of a job by SIGTERM, or by SIGUSR1 if requested.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):  # noqa: N818 (not an error)
    """The end of a run at a safe point, after a stop was requested.

    Args:
        signum: the number of the signal.
        message: the progress that was saved, for the last line of the log.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        self.signum = signum
        self.message = message
        super().__init__(signum, message)

    @property
    def exit_code(self) -> int:
        """128 + signal, as shells do: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum

    def __str__(self) -> str:
        cause = "Ctrl-C" if self.signum == signal.SIGINT else signal.Signals(self.signum).name
        return f"stopped by {cause}" + (f": {self.message}" if self.message else "")


class Interrupt:
    """A context manager that catches stop signals while its block runs.

    Outside the main thread no signal is caught, since Python delivers signals only there.

    Args:
        notice: a line for stderr when the first signal arrives, where the next safe point may be far. It is
            completed by the name of the signal, or by what a second Ctrl-C does.

    Attributes:
        signum: the number of the first signal; 0 before it arrives.
    """

    def __init__(self, notice: str = "") -> None:
        self.signum = 0
        self._notice = notice
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                self._previous[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT and not _is_started_by_launcher():
            raise KeyboardInterrupt
        if self._notice and not self.signum:
            remark = f" ({signal.Signals(signum).name})"
            if signum == signal.SIGINT:
                # torchrun then waits for its processes, and kills them only after a while.
                remark = "" if "TORCHELASTIC_RUN_ID" in os.environ else "; Ctrl-C again stops at once"
            with suppress(OSError):  # not by print, which must not be called in the middle of a print
                os.write(2, f"{self._notice}{remark}\n".encode())
        self.request(signum)

    def request(self, signum: int) -> None:
        """Requests a stop because of a signal, perhaps one of another process; the first one counts."""
        self.signum = self.signum or signum

    def requested(self) -> bool:
        """Returns whether a stop was requested."""
        return self.signum != 0

    def raise_if_requested(self) -> None:
        """Raises :class:`Interrupted` if a stop was requested."""
        if self.signum:
            raise Interrupted(self.signum)


@contextmanager
def sparing_new_processes(context: BaseContext) -> Iterator[None]:
    """Blocks Ctrl-C for the processes that are started in its block, until they ignore or unblock it.

    A new process may import modules for seconds before it can do so; Ctrl-C, which reaches all processes of a
    terminal, would end it with a traceback.

    Args:
        context: that starts them.
    """
    if context.get_start_method() != "fork":
        resource_tracker.ensure_running()  # first, since its start unblocks the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which new processes inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _is_started_by_launcher() -> bool:
    """Returns whether multiprocessing or torchrun has started this process.

    It then gets one Ctrl-C from the terminal or srun, from its parent, or from both; after a second one the
    parent ends it.
    """
    return multiprocessing.parent_process() is not None or "TORCHELASTIC_RUN_ID" in os.environ


def when_parent_ends(action: Callable[[], object]) -> None:
    """Calls ``action`` in a thread as soon as the parent has ended: by multiprocessing, or torchrun.

    A killed parent cannot stop its processes, which would keep running unseen.
    """
    parent, number = multiprocessing.parent_process(), os.getppid()
    if not _is_started_by_launcher():
        return

    def wait() -> None:
        if parent is not None:
            parent.join()
        else:
            while os.getppid() == number:
                time.sleep(_CHECK_SECONDS)
        action()

    threading.Thread(target=wait, name="parent", daemon=True).start()


def exit_when_parent_ends() -> None:
    """Ends this process at once when its parent has ended; see :func:`when_parent_ends`.

    The processes of a ``ProcessPoolExecutor``, for one, would wait for tasks without an end.
    """
    when_parent_ends(lambda: os._exit(1))


def stop_when_parent_ends() -> None:
    """Requests a stop of this process as soon as its parent has ended; see :func:`when_parent_ends`.

    It would train on and keep the lock of the folder.
    """
    when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
