"""The interface of a tracker of experiments, and the registry of trackers.

This module imports neither torch nor any tracker, so that the check of a configuration can read the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.registry import Registry

if TYPE_CHECKING:
    import numpy as np


class Outcome(Enum):
    """The ways in which a run can end."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class Tracker:
    """A base of trackers of one run. Errors of its methods never end the run, see :class:`Trackers`.

    Names of metrics are ``Train/loss``, ``Val/top1_err``, ``Test/top1_acc`` and so on, in every tracker.
    """

    def rewind(self, step: int) -> None:
        """Removes the points after ``step``, from which the training continues; called before :meth:`log`.

        An earlier start of the run may have ended, by a crash, after its last checkpoint. By default the
        points stay.

        Args:
            step: optimiser steps since the start of the run; 0 in a new one.
        """

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve.

        Args:
            step: optimiser steps since the start of the run.
        """
        raise NotImplementedError

    def log_confusion(self, confusion: np.ndarray, step: int) -> None:
        """Adds a confusion matrix (K, K) of counts; row = true class. By default it is not shown."""

    def finish(self, summary: Mapping[str, float], outcome: Outcome) -> None:
        """Records the final metrics and writes everything that is pending; no other call follows.

        Args:
            outcome: how the run ended; an interrupted run may be continued.
        """
        raise NotImplementedError


class CurveTracker(Tracker):
    """A base of trackers with curves alone, in which final metrics are points at the last step of the run.

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


@dataclass(frozen=True)
class RunDescription:
    """The description of a run that a tracker records when it starts.

    Attributes:
        name: of the run, the last part of its folder.
        project: name under which several runs are compared.
        folder: ``OUTPUT_DIR``.
        run_id: the same for every start of the run, unique among runs.
        config: dotted key -> value of the configuration.
        environment: git state, system and versions, by name.
        class_names: in the order of the classes; may be empty.
    """

    name: str
    project: str
    folder: Path
    run_id: str
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrackerKind:
    """A tracker that can be chosen.

    Attributes:
        start: starts or continues the run that a description names.
        package: that it needs, by the name under which it is imported and installed.
    """

    start: Callable[[RunDescription], Tracker]
    package: str = ""


TRACKER_REGISTRY: Registry[TrackerKind] = Registry("tracker", "TRACKERS")
"""Kinds of trackers, by name. A file named in ``IMPORTS`` registers its own:
``TRACKER_REGISTRY.register("name")(TrackerKind(start))``. Packages of trackers are imported in ``start``."""
