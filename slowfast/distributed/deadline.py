"""The end of a period in which another process is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

# Seconds between two polls.
_POLL_SECONDS = 0.1


class Deadline:
    """End of a period in which something is waited for.

    Args:
        seconds: length of the period, from now on.
        on_poll: called at each poll; it may raise an error to stop waiting.
    """

    def __init__(self, seconds: float, on_poll: Callable[[], None] = lambda: None) -> None:
        self.seconds = seconds
        self.on_poll = on_poll
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds that are left, at least 0.1."""
        return max(self._end - time.monotonic(), 0.1)

    def polls(self) -> Iterator[None]:
        """Yields repeatedly, with a pause between, until the period is over; at least once."""
        while True:
            self.on_poll()
            yield
            if time.monotonic() >= self._end:
                return
            time.sleep(_POLL_SECONDS)
