"""All trackers of a run, behind one object whose methods never raise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slowfast.errors import first_line
from slowfast.interrupt import Interrupted
from slowfast.log import get_logger
from slowfast.tracking.tracker import Outcome, RewindingTracker, RunDescription, Tracker, TrackerKind

if TYPE_CHECKING:
    import numpy as np

logger = get_logger(__name__)


class Trackers:
    """The trackers of a run. One that fails is reported once and left out; the run goes on.

    Args:
        kinds: (name, kind) of each tracker.
        description: of the run.
    """

    def __init__(
        self, kinds: Sequence[tuple[str, TrackerKind]] = (), description: RunDescription | None = None
    ) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._summary: dict[str, float] = {}
        self._outcome = Outcome.FAILED
        for name, kind in kinds:
            assert description is not None
            try:
                self._trackers[name] = kind.start(description)
            except Exception as error:  # of a package that is not ours
                self._report(name, error)

    def rewind(self, step: int) -> None:
        """Removes the points after the step from which training continues, in trackers that can do so."""
        self._each(lambda tracker: tracker.rewind(step) if isinstance(tracker, RewindingTracker) else None)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve; values that are not finite numbers are left out."""
        finite = _finite(metrics)
        if finite:
            self._each(lambda tracker: tracker.log(finite, step))

    def log_confusion(self, confusion: np.ndarray, step: int) -> None:
        """Adds a confusion matrix (K, K) of counts."""
        self._each(lambda tracker: tracker.log_confusion(confusion, step))

    def summarize(self, metrics: Mapping[str, float]) -> None:
        """Adds final metrics, which :meth:`finish` records."""
        self._summary.update(_finite(metrics))

    @contextmanager
    def noting_outcome(self) -> Iterator[None]:
        """Notes how the block ends, for :meth:`finish`; without such a block a run counts as failed."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt):  # the second Ctrl-C ends a run at once
            self._outcome = Outcome.INTERRUPTED
            raise
        self._outcome = Outcome.COMPLETE

    def finish(self) -> None:
        """Records the final metrics and the outcome, and closes all trackers; a second call does nothing.

        Where the main thread is blocked when the run ends, another thread calls it.
        """
        closing, self._trackers = self._trackers, {}
        for name, tracker in closing.items():
            self._succeeds(name, tracker, lambda one: one.finish(self._summary, self._outcome))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            if not self._succeeds(name, tracker, call):
                self._trackers.pop(name, None)

    def _succeeds(self, name: str, tracker: Tracker, call: Callable[[Tracker], None]) -> bool:
        """Calls a tracker, and returns whether it raised no error; one is reported."""
        try:
            call(tracker)
        except Exception as error:  # of a package that is not ours
            self._report(name, error)
            return False
        return True

    def _report(self, name: str, error: Exception) -> None:
        logger.warning(
            "TRACKERS: %s has failed and is left out for the rest of this run (%s: %s); the metrics are also "
            "in metrics.jsonl",
            name,
            type(error).__name__,
            first_line(error),
        )


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics that are finite numbers, as floats."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
