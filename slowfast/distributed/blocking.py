"""The operation that blocks the main thread of this process at the moment, for the watchdog to read."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_PACKAGE = str(Path(__file__).parents[1])
# Modules whose frames are not named as the location: the caller says more.
_SKIPPED = (__file__, str(Path(__file__).with_name("world.py")))


@dataclass(frozen=True)
class BlockingCall:
    """An operation that needs the other processes.

    Attributes:
        what: description, continuing "waiting for …".
        since: ``time.monotonic()`` of its start.
        limit: seconds that it may take; None: as long as the run allows.
        key: configuration key that sets the limit.
    """

    what: str
    since: float
    limit: float | None = None
    key: str = "DIST_TIMEOUT"


_current: BlockingCall | None = None


@contextlib.contextmanager
def blocking_on(what: str, limit: float | None = None, key: str = "DIST_TIMEOUT") -> Iterator[None]:
    """Marks its block as waiting for other processes; see :class:`BlockingCall` for the arguments.

    The outermost of nested blocks counts. In threads other than the main one it has no effect.
    """
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _current = BlockingCall(what, time.monotonic(), limit, key)
    try:
        yield
    finally:
        _current = None


def current_blocking_call() -> BlockingCall | None:
    """Returns the operation that blocks the main thread; None where it is not blocked."""
    return _current


def main_thread_location() -> str:
    """Returns the innermost line of this package in the main thread, and what the thread waits for."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    location = "finished" if frame is None else _innermost(traceback.walk_stack(frame))
    call = _current
    if call is None:
        return location
    return f"{location}, waiting {time.monotonic() - call.since:.0f} s for {call.what}"


def error_location(error: BaseException) -> str:
    """Returns the innermost line of this package that raised ``error``, and the type of the error."""
    outermost_first = [*traceback.walk_tb(error.__traceback__)]
    if not outermost_first:
        return "unknown"
    return f"{_innermost(reversed(outermost_first))}, with {type(error).__name__}"


def _innermost(stack: Iterable[tuple[FrameType, int]]) -> str:
    """Returns the innermost line of this package in a stack, whose innermost frame and line are the first."""
    found = [(frame.f_code, line) for frame, line in stack]
    own = [
        (code, line)
        for code, line in found
        if code.co_filename.startswith(_PACKAGE) and code.co_filename not in _SKIPPED
    ]
    code, line = (own or found)[0]
    return f"{code.co_filename}:{line} in {code.co_name}"
