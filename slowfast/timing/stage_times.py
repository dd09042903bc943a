"""The time that a process spends in each stage of loading.

Every place that does the work of a stage marks it with :func:`measure`; the process that asks for batches
takes the sums with :func:`take_times`. Neither draws random numbers nor changes the order of the work. A mark
costs about a microsecond, and a clip has a few plus one per frame.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

READING = "reading"
DECODING = "decoding"
TRANSFORMING = "transforming"
COLLATING = "collating"
COPYING = "copying"
STAGES = (READING, DECODING, TRANSFORMING, COLLATING, COPYING)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds spent in each stage of loading, in one process or summed over several.

    Attributes:
        reading: opening files, reading their packets or features, and planning the frames of a view.
        decoding: from packets to the decoder's frames.
        transforming: scaling, conversion to RGB, crop, flip and augmentation.
        collating: from clips to a batch.
        copying: sending batches to the process that trains.

    >>> times = StageTimes(reading=1.0, decoding=3.0) + StageTimes(decoding=2.0)
    >>> times.total, times.largest, times.fraction("decoding")
    (6.0, 'decoding', 0.8333333333333334)
    """

    reading: float = 0.0
    decoding: float = 0.0
    transforming: float = 0.0
    collating: float = 0.0
    copying: float = 0.0

    def __add__(self, other: StageTimes) -> StageTimes:
        return StageTimes(*(a + b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def __sub__(self, other: StageTimes) -> StageTimes:
        return StageTimes(*(a - b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def __truediv__(self, number: float) -> StageTimes:
        return StageTimes(*(seconds / number for seconds in self.seconds))

    @property
    def seconds(self) -> tuple[float, float, float, float, float]:
        """The seconds of each stage, in the order of ``STAGES``."""
        return self.reading, self.decoding, self.transforming, self.collating, self.copying

    @property
    def total(self) -> float:
        """Seconds in all stages."""
        return sum(self.seconds)

    @property
    def largest(self) -> str:
        """The stage that takes the most time; the first of them where several do."""
        return max(STAGES, key=lambda stage: float(getattr(self, stage)))

    def fraction(self, stage: str) -> float:
        """Returns the fraction of the total time that a stage takes; 0 where nothing was measured."""
        return float(getattr(self, stage)) / self.total if self.total else 0.0


class _Clock(threading.local):
    """The stage that a thread is in, and the seconds of all stages since they were last taken."""

    def __init__(self) -> None:
        self.stage: str | None = None
        self.since = 0.0
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def enter(self, stage: str | None) -> str | None:
        """Adds the time since the last change to the stage that ends; returns that stage."""
        now = time.perf_counter()
        ending = self.stage
        if ending is not None:
            self.seconds[ending] += now - self.since
        self.stage, self.since = stage, now
        return ending


_clock = _Clock()


class measure:  # noqa: N801 (used like a function)
    """A context manager whose block is work of a stage. Within a block of another stage, it interrupts that.

    >>> with measure(READING):
    ...     with measure(DECODING):
    ...         pass
    >>> times = take_times()
    >>> times.reading > 0, times.decoding > 0, times.collating
    (True, True, 0.0)
    """

    __slots__ = ("_outer", "_stage")

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __enter__(self) -> None:
        self._outer = _clock.enter(self._stage)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _clock.enter(self._outer)


def take_times() -> StageTimes:
    """Returns the seconds that this thread has spent in each stage since the last call."""
    _clock.enter(_clock.stage)
    times = StageTimes(**_clock.seconds)
    _clock.seconds = dict.fromkeys(STAGES, 0.0)
    return times
