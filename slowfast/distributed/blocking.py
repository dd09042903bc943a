"""What the main thread of this process waits for at the moment, for the watchdog to look at."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_PACKAGE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Wait:
    """Something that needs the other processes.

    Attributes:
        what: in words.
        since: ``time.monotonic()`` of its begin.
        limit: seconds that it may take; None: as long as the run allows.
        key: of the configuration that sets the limit.
    """

    what: str
    since: float
    limit: float | None = None
    key: str = "DIST_TIMEOUT"


_current: Wait | None = None


@contextlib.contextmanager
def blocking_on(what: str, limit: float | None = None, key: str = "DIST_TIMEOUT") -> Iterator[None]:
    """Says, while its block runs, that this process waits for others; see :class:`Wait`.

    Of nested ones the outermost counts. In other threads than the main one it says nothing.
    """
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _current = Wait(what, time.monotonic(), limit, key)
    try:
        yield
    finally:
        _current = None


def current_wait() -> Wait | None:
    """What the main thread waits for; None when it does not."""
    return _current


def main_thread_place() -> str:
    """Where the main thread is, in words: the innermost line of this package, and what it waits for."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    place = "at an end" if frame is None else _describe(_innermost(frame))
    wait = _current
    return place + (f", waiting {time.monotonic() - wait.since:.0f} s for {wait.what}" if wait else "")


def error_place(error: BaseException) -> str:
    """Where ``error`` was raised, in words."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return f"{_describe(_innermost(frames[-1]))}, with {type(error).__name__}" if frames else "nowhere"


def _innermost(frame: FrameType) -> FrameType:
    inner: FrameType | None = frame
    while inner is not None:
        name = inner.f_code.co_filename
        if name.startswith(_PACKAGE) and name != __file__ and not name.endswith("/distributed.py"):
            return inner
        inner = inner.f_back
    return frame


def _describe(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
