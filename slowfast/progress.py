"""Progress of a long loop: a bar on a terminal, log lines elsewhere, both with the remaining time."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from slowfast.log import get_logger

logger = get_logger(__name__)


@dataclass
class Progress:
    """A context manager that shows the progress of a loop.

    Args:
        total: number of units in the loop.
        description: the work that is done, such as ``epoch 3``.
        unit: name of one unit, such as ``step``.
        enabled: False shows nothing, for all ranks but one.
        interval: seconds between two log lines where stderr is not a terminal.
        done: number of units so far; those that an earlier start has done are given.

    >>> with Progress(4, "epoch 3", "step") as progress:
    ...     for _ in range(4):
    ...         progress.update(loss=0.3)
    >>> progress.done
    4
    """

    total: int
    description: str
    unit: str = "step"
    enabled: bool = True
    interval: float = 10.0
    done: int = 0
    # ``done`` and the time at the first update.
    _first: tuple[int, float] | None = field(default=None, init=False)
    _bar: tqdm | None = field(default=None, init=False)
    _bar_context: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> Self:
        self._last_line = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            # Log lines appear above the bar instead of breaking it.
            self._bar_context.enter_context(logging_redirect_tqdm())
            self._bar = self._bar_context.enter_context(
                tqdm(
                    total=self.total,
                    initial=self.done,
                    desc=self.description,
                    unit=self.unit,
                    dynamic_ncols=True,
                    leave=False,
                )
            )
        return self

    def update(self, n: int = 1, *, found: int = 0, **shown: Any) -> None:
        """Counts ``n`` more units and shows the newest values of ``shown``, such as ``loss=0.3``.

        Args:
            found: further units, which an earlier start has done; they are not part of the rate.
        """
        self.done += n + found
        if not self.enabled:
            return
        if self._bar is not None:
            if shown:
                self._bar.set_postfix({name: _short(value) for name, value in shown.items()}, refresh=False)
            self._bar.initial += found
            self._bar.n += found
            self._bar.last_print_n += found
            self._bar.update(n)
            return
        now = time.monotonic()
        # The start of workers, before the first update, is not part of the rate.
        done, start = self._first or (self.done - found, now)
        self._first = done + found, start
        if now - self._last_line >= self.interval:
            self._last_line = now
            logger.info("%s", self._line(now, shown))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar_context.close()

    def _line(self, now: float, shown: dict[str, Any]) -> str:
        """Returns the log line: count, fraction, rate and remaining time since the first update, values."""
        fraction = self.done / self.total if self.total else 1.0
        parts = [f"{self.description}: {self.done}/{self.total} ({fraction:.0%})"]
        done, start = self._first or (self.done, now)
        if self.done > done and now > start:
            rate = (self.done - done) / (now - start)
            parts += [f"{rate:.2f} {self.unit}/s", f"ETA {format_duration((self.total - self.done) / rate)}"]
        return ", ".join([*parts, *(f"{name} {_short(value)}" for name, value in shown.items())])


def format_duration(seconds: float, *, tenths: bool = False) -> str:
    """Returns a duration in seconds as hours, minutes and seconds, or tenths of seconds.

    >>> format_duration(3725.4), format_duration(3725.4, tenths=True)
    ('1:02:05', '1:02:05.4')
    """
    units = round(seconds * 10) if tenths else round(seconds) * 10
    end = f".{units % 10}" if tenths else ""
    whole = units // 10
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}{end}"


def format_bytes(count: int) -> str:
    """Returns a number of bytes in the largest fitting unit.

    >>> format_bytes(5_767_168)
    '5.5 MiB'
    """
    power = min(max(count.bit_length() - 1, 10) // 10, 3)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
