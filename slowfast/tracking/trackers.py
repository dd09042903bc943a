"""All trackers of a run, behind one object whose methods never raise, and building it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode

from slowfast.config.derived import tracker_names
from slowfast.config.values import flatten
from slowfast.datasets.class_names import build_class_names
from slowfast.distributed.device import describe_device
from slowfast.distributed.world import World
from slowfast.errors import first_line
from slowfast.files import write_text
from slowfast.interrupt import Interrupted
from slowfast.log import get_logger
from slowfast.tracking.environment import describe_environment
from slowfast.tracking.kinds import TRACKER_REGISTRY
from slowfast.tracking.tracker import Outcome, RunDescription, Tracker, TrackerKind

if TYPE_CHECKING:
    import numpy as np

logger = get_logger(__name__)

RUN_ID_FILE = "run_id.txt"


class Trackers:
    """The trackers of a run. One that fails is reported once and left out; the run continues.

    They start with the first call of :meth:`rewind` or :meth:`start`, once the start of the run is known to
    be valid: one that is refused must not change what they have recorded of the run.

    Args:
        kinds: (name, kind) of each tracker.
        description: of the run.
    """

    def __init__(
        self, kinds: Sequence[tuple[str, TrackerKind]] = (), description: RunDescription | None = None
    ) -> None:
        self._waiting = list(kinds)
        self._description = description
        self._trackers: dict[str, Tracker] = {}
        self._summary: dict[str, float] = {}
        self._outcome = Outcome.FAILED

    def start(self) -> None:
        """Starts the trackers; a second call does nothing."""
        starting, self._waiting = self._waiting, []
        for name, kind in starting:
            assert self._description is not None
            try:
                self._trackers[name] = kind.start(self._description)
            except Exception as error:  # of a package that is not ours
                self._report(name, error)

    def rewind(self, step: int) -> None:
        """Removes the points after the step from which training continues, in trackers that can do so."""
        self.start()
        self._each(lambda tracker: tracker.rewind(step))

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


def build_trackers(cfg: CfgNode, world: World) -> Trackers:
    """Builds the trackers of the configuration on rank 0; on other ranks the result is empty."""
    names = tracker_names(cfg)
    if not (names and world.is_main):
        return Trackers()
    folder = Path(cfg.OUTPUT_DIR)
    description = RunDescription(
        name=folder.absolute().name,
        project=cfg.TRACKER_PROJECT,
        folder=folder,
        run_id=_find_run_id(folder),
        config=flatten(cfg),
        environment=describe_environment(describe_device(world.device)),
        class_names=tuple(build_class_names(cfg)),
    )
    return Trackers([(name, TRACKER_REGISTRY.get(name)) for name in names], description)


def _find_run_id(folder: Path) -> str:
    """Returns the id of the run in a folder; its first start writes it to a file."""
    path = folder / RUN_ID_FILE
    if not path.is_file():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text(encoding="utf-8").strip()
