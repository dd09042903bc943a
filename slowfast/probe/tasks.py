"""Tasks of a search, their results on disk, and the processes that work on them.

A task is one training or one fit of a baseline, on one fold. Its result is written when it is finished, so
that a search that was stopped continues with the others.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray

from slowfast.config.values import value_of
from slowfast.datasets.loading.worker_process import prepare_process
from slowfast.errors import DataError, SlowFastError
from slowfast.files import atomic_write
from slowfast.interrupt import Interrupt, exit_when_parent_ends, sparing_new_processes
from slowfast.log import get_logger
from slowfast.probe.baselines import Baseline, baselines
from slowfast.probe.candidate import Candidate
from slowfast.probe.feature_table import FeatureTable
from slowfast.probe.training import Plans, Trained, train_and_score
from slowfast.progress import Progress
from slowfast.registry import import_user_modules

logger = get_logger(__name__)

_POLL_SECONDS = 0.5
_CONTEXT = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
# Keys on which the clips of a configuration depend.
_CLIP_KEYS = (
    "DATA.NUM_FRAMES", "DATA.SAMPLING_RATE", "DATA.TARGET_FPS", "TRAIN.FULL_VIDEO", "TRAIN.EVAL_FULL_VIDEO",
    "TRAIN.EVAL_NUM_FRAMES", "DATA.TRAIN_JITTER_NUM_FRAMES", "DATA.TRAIN_JITTER_DURATION",
)  # fmt: skip


TEST_LIST = -1
"""Number of the fold that consists of the test list; the training videos are all others."""


@dataclass(frozen=True)
class Task:
    """One training, or one fit of a baseline.

    Attributes:
        method: a candidate, or the name of a baseline.
        fold: the fold that is tested, or ``TEST_LIST``.
        seed: of a training; baselines have only seed 0.
    """

    method: Candidate | str
    fold: int
    seed: int = 0

    @property
    def file_name(self) -> str:
        """Name of the file of its result."""
        name = self.method.key if isinstance(self.method, Candidate) else self.method
        name = "".join(letter if letter.isalnum() else "-" for letter in name)
        return f"{name}-fold{self.fold}-seed{self.seed}.npz"


@dataclass(frozen=True)
class Problem:
    """The data of a search, from which each process does its tasks.

    Attributes:
        cfg: the configuration of the search, without a frame encoder.
        table: features of all videos, those of a test list after those of training.
        folds: (V,) int64, fold of each video; ``TEST_LIST`` for the videos of a test list.
        groups: group of each video.
        device: on which candidates are trained.
    """

    cfg: CfgNode
    table: FeatureTable
    folds: NDArray[np.int64]
    groups: tuple[str, ...]
    device: torch.device

    def division(self, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the videos to train on and those to test on, as indices."""
        learned = (self.folds != TEST_LIST) & (self.folds != fold)
        return np.flatnonzero(learned), np.flatnonzero(self.folds == fold)


@dataclass
class TaskWorker:
    """Does the tasks of a problem, with what they have in common computed once.

    Attributes:
        problem: see the class.
        check_stop: called after each epoch; raises an exception to end the training.
    """

    problem: Problem
    check_stop: Callable[[], None]
    _plans: dict[str, Plans] = field(default_factory=dict)
    _baselines: Mapping[str, Baseline] = field(default_factory=dict)

    def __call__(self, task: Task) -> Trained:
        """Returns the result of a task."""
        problem = self.problem
        train, test = problem.division(task.fold)
        if isinstance(task.method, str):
            started = time.perf_counter()
            if not self._baselines:
                classes = problem.cfg.MODEL.NUM_CLASSES
                self._baselines = baselines(problem.table, problem.groups, classes)
            scores = self._baselines[task.method](train, test)
            return Trained(scores, (), time.perf_counter() - started)
        return train_and_score(
            task.method.apply(problem.cfg),
            problem.table,
            self._plans_of,
            train,
            test,
            seed=task.seed + problem.cfg.RNG_SEED,
            device=problem.device,
            check_stop=self.check_stop,
        )

    def _plans_of(self, cfg: CfgNode, position_rate: float | None) -> Plans:
        setting = str([position_rate, *(value_of(cfg, key) for key in _CLIP_KEYS)])
        if setting not in self._plans:
            self._plans[setting] = Plans.of(cfg, self.problem.table, position_rate)
        return self._plans[setting]


class ResultFiles:
    """The results of finished tasks, one ``.npz`` file per task.

    Args:
        folder: is created where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, task: Task) -> Trained | None:
        """Returns the result of a task; None where it is not finished or its file is damaged."""
        try:
            with np.load(self._folder / task.file_name, allow_pickle=False) as file:
                return Trained(file["scores"], tuple(file["losses"].tolist()), float(file["seconds"]))
        except Exception:  # a damaged archive raises errors of several libraries
            return None

    def write(self, task: Task, result: Trained) -> None:
        """Writes the result of a task, atomically."""
        with atomic_write(self._folder / task.file_name) as temporary:
            np.savez(temporary, scores=result.scores, losses=np.array(result.losses), seconds=result.seconds)


class Runner:
    """A context manager that runs tasks side by side in several processes and keeps their results.

    Args:
        problem: the data.
        files: of results.
        workers: number of processes; 1: tasks run in this process.
        scratch: folder of the features that the processes map into memory.
        interrupt: a request to stop ends the work within an epoch; finished tasks are kept.
    """

    def __init__(
        self, problem: Problem, files: ResultFiles, *, workers: int, scratch: Path, interrupt: Interrupt
    ) -> None:
        self._problem = problem
        self._files = files
        self._workers = workers
        self._rows = scratch / "rows.pt"
        self._interrupt = interrupt
        self._pool: ProcessPoolExecutor | None = None
        self._stop: Any = None
        self.new_tasks = 0
        """Tasks that were run and not read from files."""

    def __enter__(self) -> Runner:
        if self._workers > 1:
            with atomic_write(self._rows) as temporary:
                torch.save(self._problem.table.rows, temporary)
            self._stop = _CONTEXT.Event()
            light = replace(self._problem.table, rows=torch.empty(0))
            arguments = (replace(self._problem, table=light), str(self._rows), self._stop)
            self._pool = ProcessPoolExecutor(self._workers, _CONTEXT, _start_worker, arguments)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)
            self._rows.unlink(missing_ok=True)

    def run(self, tasks: Sequence[Task], description: str) -> dict[Task, Trained]:
        """Returns the results of tasks; those that fail by a fault of their settings are logged and missing.

        Raises:
            Interrupted: after a signal.
            DataError: where a process ends unexpectedly.
        """
        results: dict[Task, Trained] = {}
        for task in tasks:
            if (known := self._files.read(task)) is not None:
                results[task] = known
        left = [task for task in tasks if task not in results]
        with Progress(len(tasks), description, "training", done=len(results)) as bar:
            for task, result in self._run_all(left):
                self.new_tasks += 1
                if isinstance(result, SlowFastError):
                    name = task.method if isinstance(task.method, str) else task.method.describe()
                    logger.warning("%s: left out: %s", name, result)
                else:
                    self._files.write(task, result)
                    results[task] = result
                bar.update(1)
        return results

    def _run_all(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Trained | SlowFastError]]:
        if self._pool is None:
            worker = TaskWorker(self._problem, self._interrupt.raise_if_requested)
            for task in tasks:
                self._interrupt.raise_if_requested()
                try:
                    yield task, worker(task)
                except SlowFastError as error:
                    yield task, error
            return
        with sparing_new_processes(_CONTEXT):
            futures: dict[Future[Trained], Task] = {self._pool.submit(_do_task, task): task for task in tasks}
        while futures:
            done, _ = wait(futures, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            self._interrupt.raise_if_requested()
            for future in done:
                task = futures.pop(future)
                try:
                    yield task, future.result()
                except SlowFastError as error:
                    yield task, error
                except BrokenProcessPool as error:
                    raise DataError(
                        "a process of the search ended unexpectedly, probably for lack of memory; run the "
                        "same command with fewer --workers, it continues with the unfinished trainings"
                    ) from error


class _StoppedError(Exception):
    """The end of a training after a stop was requested; its future is not read any more."""


_worker: TaskWorker | None = None


def _start_worker(problem: Problem, rows: str, stop: Any) -> None:
    """Prepares a process: one thread, the features mapped from their file, signals left to the parent."""
    global _worker
    from threadpoolctl import threadpool_limits

    prepare_process()
    exit_when_parent_ends()
    # The threads of numpy and scikit-learn, too: those of several processes would wait for each other.
    threadpool_limits(1)
    import_user_modules(problem.cfg.IMPORTS)
    table = replace(problem.table, rows=torch.load(rows, mmap=True, weights_only=True))

    def check_stop() -> None:
        if stop.is_set():
            raise _StoppedError

    _worker = TaskWorker(replace(problem, table=table), check_stop)


def _do_task(task: Task) -> Trained:
    assert _worker is not None
    return _worker(task)
