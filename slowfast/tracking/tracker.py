"""The interface of a tracker of experiments, and the registry of trackers.

This module imports neither torch nor any tracker, so that the check of a configuration can read the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from slowfast.registry import Registry

if TYPE_CHECKING:
    import numpy as np


class Outcome(Enum):
    """The ways in which a run can end."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class Tracker(Protocol):
    """A tracker of one run. Errors of its methods never end the run, see :class:`Trackers`.

    Names of metrics are ``Train/loss``, ``Val/top1_err``, ``Test/top1_acc`` and so on, in every tracker.
    """

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve.

        Args:
            step: optimiser steps since the start of the run.
        """
        ...

    def log_confusion(self, confusion: np.ndarray, step: int) -> None:
        """Adds a confusion matrix (K, K) of counts; row = true class. A tracker may ignore it."""
        ...

    def finish(self, summary: Mapping[str, float], outcome: Outcome) -> None:
        """Records the final metrics and writes everything that is pending; no other call follows.

        Args:
            outcome: how the run ended; an interrupted run may be continued.
        """
        ...


@runtime_checkable
class RewindingTracker(Tracker, Protocol):
    """A tracker that can remove points; one without this method keeps those that a resumed run repeats."""

    def rewind(self, step: int) -> None:
        """Removes the points after ``step``, from which the training continues; called before :meth:`log`.

        An earlier start of the run may have ended, by a crash, after its last checkpoint.

        Args:
            step: optimiser steps since the start of the run; 0 in a new one.
        """
        ...


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
