"""Stopping a run from outside: Ctrl-C, ``kill``, a scheduler's notice.

The first signal asks the run to stop at the next safe point, where a checkpoint can be saved. A second
Ctrl-C ends it at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

# Schedulers announce the end of a job by SIGTERM or, where asked to, SIGUSR1.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):  # noqa: N818 (not an error)
    """The run was asked to stop and has come to a safe point.

    Args:
        signum: the signal.
        message: what was saved, for the last line of the log.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        self.signum = signum
        self.message = message
        super().__init__(signum, message)

    @property
    def exit_code(self) -> int:
        """128 + signal, as a shell reports it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum

    def __str__(self) -> str:
        cause = "Ctrl-C" if self.signum == signal.SIGINT else signal.Signals(self.signum).name
        return f"stopped by {cause}" + (f": {self.message}" if self.message else "")


class Interrupt:
    """Catches stop signals while its block runs; :attr:`signum` is 0 until one has come.

    Outside the main thread nothing is caught, since Python delivers signals only there.
    """

    def __init__(self) -> None:
        self.signum = 0
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
        if self.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum

    def request(self, signum: int) -> None:
        """Asks for a stop as if the signal had come; another process got it."""
        self.signum = self.signum or signum

    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signum != 0

    def raise_if_requested(self) -> None:
        """Raises :class:`Interrupted` when a signal has come."""
        if self.signum:
            raise Interrupted(self.signum)
