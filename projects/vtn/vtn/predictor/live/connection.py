"""The time of a live source over losses of its connection and of its clock."""

from __future__ import annotations

import time

from slowfast.errors import DecodeError
from slowfast.log import get_logger
from slowfast.video.frame_table.packet_facts import CLOCK_OVERRUN_SECONDS

REMEDY = "check the source and its connection, and start again"
"""The end of messages about a source that cannot be read."""

# Seconds by which the time may fall back before it counts as a clock that was reset; frames that come less
# late are out of order and left out.
_OUT_OF_ORDER_SECONDS = 1.0
# Seconds without a frame after which a lost stream is given up, and the longest wait from a try to the next.
_GIVE_UP_SECONDS = 300.0
_LONGEST_WAIT_SECONDS = 8.0
# Seconds that a server may have kept of a stream without an end, and sends at once.
_KEPT_SECONDS = 10.0

logger = get_logger(__name__)


class Outage:
    """The time without a stream that was lost.

    Args:
        name: of the source, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._newest: float | None = None
        self._seconds = 0.0
        self._wait = 0.0

    def end(self, seconds: float) -> None:
        """Notes a frame of that time of the stream, by which an outage ends."""
        if self._wait:
            gap = seconds - self._seconds
            logger.warning("%s: connected again, after %.1f s without a frame", self._name, gap)
        self._newest, self._seconds, self._wait = time.monotonic(), seconds, 0.0

    def wait(self, lost: DecodeError) -> None:
        """Waits until the next try to connect; raises ``DecodeError`` where there were enough of them."""
        if self._newest is None:  # not one frame came: more likely, the address is wrong
            raise lost
        reason = lost.detail.removesuffix(f"; {REMEDY}")
        if time.monotonic() - self._newest > _GIVE_UP_SECONDS:
            detail = f"{reason}; no frame came for {_GIVE_UP_SECONDS:.0f} s; {REMEDY}"
            raise DecodeError(self._name, lost.reason, detail) from lost
        if not self._wait:
            logger.warning(
                "%s: lost (%s); connecting again, for %.0f s at most", self._name, reason, _GIVE_UP_SECONDS
            )
        self._wait = min(2 * self._wait or 1.0, _LONGEST_WAIT_SECONDS)
        time.sleep(self._wait)


class StreamClock:
    """The time since the first frame, which continues where the timestamps of the source restart.

    Args:
        name: of the source, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._began: float | None = None
        self._newest = float("-inf")
        self._before = self._period = 0.0
        self._was_set = False

    def open(self) -> None:
        """Notes that a connection is opened."""
        self._opened, self._count = time.monotonic(), 0

    def connect(self, period: float) -> None:
        """Prepares for the first frame of a connection, whose timestamps are not related to earlier ones.

        Args:
            period: seconds per frame where a frame has no timestamp.
        """
        self._period = period
        self._start: float | None = None

    def seconds(self, timestamp: float | None) -> float:
        """Returns the seconds of a frame with that timestamp; None: it has none."""
        if self._count == 0:  # the first frame of the connection
            now = time.monotonic()
            self._began = now if self._began is None else self._began
            self._newest = self._before = max(self._newest, now - self._began - self._period)
        self._count += 1
        following = self._newest + self._period
        if timestamp is None:
            self._newest = following
            return following
        if self._start is None:
            self._start = timestamp - following
        elif not -_OUT_OF_ORDER_SECONDS <= timestamp - self._start - self._newest <= CLOCK_OVERRUN_SECONDS:
            self._start = timestamp - following
            if not self._was_set:
                self._was_set = True
                logger.warning(
                    "%s: its timestamps restart; time continues from %.1f s", self._name, self._newest
                )
        seconds = timestamp - self._start
        self._newest = max(self._newest, seconds)
        return seconds

    @property
    def is_of_recording(self) -> bool:
        """Whether the frames of the connection came at more than twice the speed at which they are shown."""
        shown = min(self._newest - self._before, self._count * self._period)
        return shown > 2 * (time.monotonic() - self._opened) + _KEPT_SECONDS
