"""Writing of checkpoints in the background: when one is due, and which are kept.

torch's ``async_save`` writes a folder of many shards. A run here writes one atomic file with PySlowFast's
entries, deletes obsolete files, and skips a checkpoint while the previous one is being written; hence a small
writer of its own. States given to the writer must be copies that are not changed afterwards.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.checkpoint.best import best_of
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import (
    checkpoint_path,
    list_checkpoints,
    record_path,
    recorded_validation,
    save_checkpoint,
)
from slowfast.distributed.world import World
from slowfast.log import get_logger

logger = get_logger(__name__)


@dataclass
class CheckpointWriter:
    """Writes checkpoints in a thread, so that training waits only for the copy to host memory.

    One checkpoint is written at a time. An error of the thread is raised by the next call of a method.

    Attributes:
        output_dir: of the run.
        minutes: time between two checkpoints within an epoch; 0: no such checkpoints.
        steps: optimiser steps between two checkpoints; 0: no such checkpoints.
        keep: number of checkpoints at the end of an epoch that :meth:`prune` keeps; 0: all.
        best_metric: validation metric of the best checkpoint, which is kept, too; see
            :mod:`slowfast.checkpoint.best`.
    """

    output_dir: str | Path
    minutes: float = 0.0
    steps: int = 0
    keep: int = 0
    best_metric: str = ""
    _last: float = field(default_factory=time.monotonic)
    _thread: threading.Thread | None = None
    _failure: Exception | None = None
    _superseded: list[Path] = field(default_factory=list)
    _released: list[Path] = field(default_factory=list)

    def restart_from(self, progress: TrainingProgress) -> None:
        """Marks all checkpoints later than ``progress`` as superseded, since the run repeats these steps.

        They and their metrics are renamed to ``….pyth.superseded`` and ``….json.superseded`` when the run has
        written its next checkpoint. Until then, a restarted run would resume from one of them.
        """
        found = list_checkpoints(self.output_dir)
        self._superseded = [checkpoint.path for checkpoint in found if checkpoint.progress > progress]

    def is_due(self, steps_done: int) -> bool:
        """Returns whether a checkpoint within an epoch is due after ``steps_done`` steps of the run.

        False while the previous checkpoint is still being written.
        """
        by_time = self.minutes > 0 and time.monotonic() - self._last >= 60 * self.minutes
        by_steps = self.steps > 0 and steps_done % self.steps == 0
        if not (by_time or by_steps):
            return False
        if self._thread is not None and self._thread.is_alive():
            logger.warning(
                "no checkpoint after %d steps: the previous one is still being written; set "
                "TRAIN.CHECKPOINT_STEPS or TRAIN.CHECKPOINT_MINUTES higher, or use a faster disk",
                steps_done,
            )
            # Waits for the next period: a warning in every step would fill the log.
            self._last = time.monotonic()
            return False
        return True

    def write(self, state: TrainingState) -> Path:
        """Starts to write ``state``, which must not change any more; returns the path of the file.

        Raises:
            CheckpointError: if the previous checkpoint could not be written.
        """
        self.wait()
        path = checkpoint_path(self.output_dir, state.progress)
        # Metrics of an earlier run, whose checkpoint was deleted or is about to be replaced.
        record_path(path).unlink(missing_ok=True)
        self._last = time.monotonic()
        self._released = [released for released in self._released if released.exists()]
        released = tuple(self._released)  # the list may grow while the thread runs
        self._thread = threading.Thread(target=self._run, args=(state, released), name="checkpoint writer")
        self._thread.start()
        return path

    def wait(self) -> None:
        """Waits until the last checkpoint is written.

        Raises:
            CheckpointError: if it could not be written.
        """
        if self._thread is not None:
            self._thread.join(timeout=1)  # a short wait needs no line
            if self._thread.is_alive():
                logger.info("waiting until the checkpoint is written")
            self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def release(self, progress: TrainingProgress) -> None:
        """Lets the checkpoint of ``progress`` be deleted once later ones are on disk.

        Until then it may be the only one from which the run can be resumed. The metrics of its validation
        stay.
        """
        self._released.append(checkpoint_path(self.output_dir, progress))

    def prune(self) -> None:
        """Deletes the superfluous checkpoints and their metrics."""
        self.wait()
        for path in superfluous(self.output_dir, keep=self.keep, best_metric=self.best_metric):
            path.unlink(missing_ok=True)
            record_path(path).unlink(missing_ok=True)

    def _run(self, state: TrainingState, released: tuple[Path, ...]) -> None:
        try:
            started = time.monotonic()
            path = save_checkpoint(self.output_dir, state)
            logger.info("saved %s (%.2f s in the background)", path, time.monotonic() - started)
            # One that was replaced is now of this run, and its metrics may have been written already.
            replaced = [superseded for superseded in self._superseded if superseded != path]
            for old in (*replaced, *map(record_path, replaced)):
                if old.exists():
                    old.rename(f"{old}.superseded")
            self._superseded = []
            # Checkpoints within an epoch are needed only until its end.
            for old in superfluous(self.output_dir, keep=0):
                old.unlink(missing_ok=True)
            # At least two are kept, so that a run can be resumed if the latest one is damaged.
            spare = max(0, len(list_checkpoints(self.output_dir)) - 2)
            for old in [old for old in released if old.exists()][:spare]:
                old.unlink()
        except Exception as error:  # the next call in the main thread raises it
            self._failure = error


def build_checkpoint_writer(cfg: CfgNode, world: World) -> CheckpointWriter:
    """Builds the writer of checkpoints; only rank 0 decides when a checkpoint within an epoch is due."""
    return CheckpointWriter(
        cfg.OUTPUT_DIR,
        minutes=cfg.TRAIN.CHECKPOINT_MINUTES if world.is_main else 0.0,
        steps=cfg.TRAIN.CHECKPOINT_STEPS if world.is_main else 0,
        keep=cfg.TRAIN.KEEP_CHECKPOINTS,
        best_metric=cfg.TRAIN.BEST_METRIC,
    )


def superfluous(output_dir: str | Path, *, keep: int, best_metric: str = "") -> list[Path]:
    """Returns the checkpoints that may be deleted.

    Within an epoch and without a validation: all but the two latest of all files. At the end of an epoch or
    of a run: all but the ``keep`` latest and the one with the best validation by ``best_metric``; with
    ``keep`` 0 none of them.
    """
    found = list_checkpoints(output_dir)
    ends = [one for one in found if one.progress.step == 0 or recorded_validation(one.path) is not None]
    within = [one.path for one in found[2:] if one not in ends]
    if keep == 0:
        return within
    best = best_of(ends, best_metric)
    # At least two are kept, so that a run can be resumed if the latest one is damaged.
    return within + [one.path for one in ends[max(keep, 2) :] if one.path != best]
