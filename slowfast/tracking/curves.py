"""A base of trackers that show curves, and have no other place for final metrics."""

from __future__ import annotations

from collections.abc import Mapping


class CurveTracker:
    """A tracker whose final metrics become points at the last step of the run.

    A subclass has ``add_points(metrics, step)``, and calls :meth:`add_final_points` at the end.
    """

    def __init__(self) -> None:
        self._last_step = 0
        self._names: set[str] = set()

    def add_points(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve."""
        raise NotImplementedError

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve, and notes the step."""
        self._last_step = step
        self._names.update(metrics)
        self.add_points(metrics, step)

    def rewind(self, step: int) -> None:
        """Notes the step from which the run continues."""
        self._last_step = step

    def add_final_points(self, summary: Mapping[str, float]) -> None:
        """Adds a point for each final metric without a curve; the others are the last points of theirs."""
        final = {name: value for name, value in summary.items() if name not in self._names}
        if final:
            self.add_points(final, self._last_step)
