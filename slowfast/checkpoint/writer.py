"""When checkpoints are written and which are kept, without making training wait for the disk.

States that this file gets are copies: nothing else changes them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import (
    checkpoint_path,
    list_checkpoints,
    recorded_validation,
    save_checkpoint,
)
from slowfast.log import get_logger

logger = get_logger(__name__)


class CheckpointWriter:
    """Writes checkpoints in a thread of its own, so that training waits only for the copy to host memory.

    One is written at a time. What fails is raised by the next call.

    Args:
        output_dir: of the run.
        minutes: between two checkpoints within an epoch; 0: none.
        steps: of the run between two checkpoints; 0: none.
        keep: checkpoints of epochs that :meth:`prune` leaves; 0: all.
    """

    def __init__(
        self, output_dir: str | Path, *, minutes: float = 0.0, steps: int = 0, keep: int = 0
    ) -> None:
        self._output_dir = output_dir
        self._seconds = minutes * 60
        self._steps = steps
        self._keep = keep
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._overtaken: list[Path] = []

    def begin_anew(self, position: TrainingProgress) -> None:
        """Says that the run goes back to ``position`` with what was further.

        Once it has written a checkpoint of its own, those that were further at that time are renamed to
        ``….pyth.overtaken``; before, one of them is what it would go on from.
        """
        self._overtaken = [path for at, path in list_checkpoints(self._output_dir) if at > position]

    def is_due(self, steps_done: int) -> bool:
        """Whether a checkpoint within an epoch is due after so many steps of the run.

        While the one before is still being written it is left out.
        """
        by_time = self._seconds > 0 and time.monotonic() - self._last >= self._seconds
        by_steps = self._steps > 0 and steps_done % self._steps == 0
        if not (by_time or by_steps):
            return False
        if self._thread is not None and self._thread.is_alive():
            logger.warning(
                "no checkpoint after %d steps: the one before is still being written; set "
                "TRAIN.CHECKPOINT_STEPS or TRAIN.CHECKPOINT_MINUTES higher, or take a faster disk",
                steps_done,
            )
            # Not at each step: a slow disk would fill the log.
            self._last = time.monotonic()
            return False
        return True

    def write(self, state: TrainingState) -> Path:
        """Begins to write ``state``, which nobody else may change any more; returns where."""
        self.wait()
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(state,), name="checkpoint writer")
        self._thread.start()
        return checkpoint_path(self._output_dir, state.position)

    def wait(self) -> None:
        """Waits until all is written.

        Raises:
            CheckpointError: when it could not be.
        """
        if self._thread is not None:
            if self._thread.is_alive():
                logger.info("waiting until a checkpoint is written")
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def prune(self) -> None:
        """Deletes the checkpoints that are not to be kept."""
        self.wait()
        for path in superfluous(self._output_dir, keep=self._keep):
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)

    def _run(self, state: TrainingState) -> None:
        try:
            begun = time.monotonic()
            path = save_checkpoint(self._output_dir, state)
            logger.info("saved %s (%.2f s in the background)", path, time.monotonic() - begun)
            for overtaken in self._overtaken:
                if overtaken != path and overtaken.exists():
                    overtaken.rename(f"{overtaken}.overtaken")
            self._overtaken = []
            # Those within an epoch only bridge the time to its end.
            for old in superfluous(self._output_dir, keep=0):
                old.unlink(missing_ok=True)
        except Exception as error:  # a thread has nobody above it: the next call raises it
            self._failure = error


def superfluous(output_dir: str | Path, *, keep: int) -> list[Path]:
    """Returns the checkpoints that may go.

    Of those within an epoch, all but the two furthest of all files. Of those at an epoch's end, all but
    the last ``keep`` and the one with the best validation; none when ``keep`` is 0.
    """
    found = list_checkpoints(output_dir)
    within = [path for position, path in found[2:] if position.step]
    ends = [path for position, path in found if not position.step]
    if keep == 0:
        return within
    validated = [(figures, path) for path in ends if (figures := recorded_validation(path)) is not None]
    best = min(validated, key=lambda pair: _badness(pair[0]))[1] if validated else None
    # Two are always left, so that a damaged newest one has another before it.
    return within + [path for path in ends[max(keep, 2) :] if path != best]


def _badness(figures: Mapping[str, float]) -> float:
    return figures["top1_err"] if "top1_err" in figures else -figures.get("map", 0.0)
