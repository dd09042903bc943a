"""Worker processes that make batches, and that may hang or die.

``torch.utils.data.DataLoader`` ends the run when a worker dies (from a signal handler, wherever the main
process happens to be), waits for a stuck one as long as it takes, and cannot say at which sample it was.
Here each worker has a connection of its own and notes what it reads (:class:`slowfast.datasets.loading.quarantine.Quarantine`):
one that dies or gets stuck is replaced, its video is banned, and its batches are made again.
"""

from __future__ import annotations

import multiprocessing.process
import os
import pickle
import signal
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch
import torch.multiprocessing

from slowfast.datasets.loading.quarantine import HUNG, KILLED, Quarantine, Reading
from slowfast.errors import DataError
from slowfast.log import get_logger

logger = get_logger(__name__)

# Batches that each worker is given ahead of those that are taken.
_AHEAD = 2
# Seconds between two looks at the workers.
_LOOK = 0.5
# A killed process that still waits for a dead disk is left behind after so many seconds.
_JOIN_SECONDS = 5.0
# A worker may be killed by a machine short of memory, so a video is banned for the second death at it.
_DEATHS_OF_A_VIDEO = 2
# Deaths in a row at no video at all that are borne.
_MAX_IDLE_DEATHS = 3
# Signals by which somebody outside ends the whole run; no video is to blame.
_ENDED_FROM_OUTSIDE = (-signal.SIGTERM, -signal.SIGHUP)


class WatchedDataset(Protocol):
    """A data set that notes in ``watch`` what it reads and respects its bans."""

    watch: Quarantine

    @property
    def paths(self) -> Sequence[str]: ...

    def __getitem__(self, item: Any) -> Any: ...


@dataclass
class _Worker:
    """One process as the main process sees it.

    Attributes:
        tasks: number -> items, what it was given and has not answered.
        stuck_at, stuck_seconds: the reading last seen, and how long it was seen while batches were awaited.
    """

    number: int
    process: multiprocessing.process.BaseProcess
    connection: Connection
    watch: Quarantine
    tasks: dict[int, Sequence[Any]] = field(default_factory=dict)
    stuck_at: Reading | None = None
    stuck_seconds: float = 0.0

    def give(self, number: int, items: Sequence[Any]) -> None:
        self.tasks[number] = items
        # Where it is dead, that is found and mended when its answers are looked for.
        with suppress(OSError):
            self.connection.send((number, items))


class WorkerPool:
    """Makes batches in worker processes, which start with the first and live as long as the pool.

    Args:
        dataset: each worker has a copy with a watch of its own.
        collate: makes a batch of a list of items.
        num_workers: 1 or more.
        sample_timeout: seconds that reading one video may take while its batch is waited for; 0: any time.
        pin_memory: pin each batch as it comes, beside the main thread.
    """

    def __init__(
        self,
        dataset: WatchedDataset,
        collate: Callable[[list[Any]], Any],
        *,
        num_workers: int,
        sample_timeout: float,
        pin_memory: bool = False,
    ) -> None:
        self._dataset = dataset
        self._collate = collate
        self._sample_timeout = sample_timeout
        self._workers: list[_Worker] = []
        self._num_workers = num_workers
        self._next_number = 0
        self._deaths: dict[int, int] = {}
        self._idle_deaths = 0
        self._made: dict[int, Any] = {}
        self._run: object = None
        self._pinner = ThreadPoolExecutor(1) if pin_memory else None
        weakref.finalize(self, _end_all, self._workers, os.getpid())

    def run(self, batches: Iterable[Sequence[Any]]) -> Iterator[Any]:
        """Yields ``collate([dataset[item] for item in items])`` for each list of items, in their order.

        A new run ends an older one that was left in the middle.

        Raises:
            DataError: when workers die again and again without reading anything.
            Exception: whatever the data set raised, when its batch is due.
        """
        while len(self._workers) < self._num_workers:
            self._workers.append(self._start(len(self._workers)))
        self._drop_run()
        self._run = this_run = object()
        todo = iter(batches)
        due = self._next_number
        try:
            while self._run is this_run:
                while self._next_number - due < _AHEAD * self._num_workers:
                    if (items := next(todo, None)) is None:
                        break
                    min(self._workers, key=lambda worker: len(worker.tasks)).give(self._next_number, items)
                    self._next_number += 1
                if due == self._next_number:
                    return
                while due not in self._made:
                    self._look()
                batch = self._made.pop(due)
                if isinstance(batch, Future):
                    batch = batch.result()
                if isinstance(batch, Exception):
                    raise batch
                due += 1
                yield batch
            raise RuntimeError("the loader was iterated anew before this iteration came to its end")
        finally:
            if self._run is this_run:
                self._drop_run()

    def _drop_run(self) -> None:
        """Forgets what is still to come; late answers belong to nobody."""
        self._run = None
        self._made.clear()
        for worker in self._workers:
            worker.tasks.clear()

    def _look(self) -> None:
        """Waits a moment for answers and takes them; replaces workers that are dead or stuck."""
        before = time.monotonic()
        wait([source for w in self._workers for source in (w.connection, w.process.sentinel)], _LOOK)
        # Only time that was spent waiting here counts: the whole run may have been asleep for hours.
        waited = min(time.monotonic() - before, _LOOK)
        for worker in list(self._workers):
            self._take_answers(worker)
            if not worker.process.is_alive():
                self._replace_dead(worker)
            elif self._is_stuck(worker, waited):
                self._replace_stuck(worker)

    def _take_answers(self, worker: _Worker) -> None:
        try:
            while worker.connection.poll():
                number, batch = worker.connection.recv()
                self._idle_deaths = 0
                if worker.tasks.pop(number, None) is None:
                    continue
                if self._pinner is not None and not isinstance(batch, Exception):
                    batch = self._pinner.submit(batch.pin_memory)
                self._made[number] = batch
        except (EOFError, OSError, pickle.UnpicklingError):
            # It died before its memory was handed over; the batch stays among its tasks.
            _kill(worker)

    def _is_stuck(self, worker: _Worker, waited: float) -> bool:
        reading = worker.watch.current()
        if reading is None or reading != worker.stuck_at:
            worker.stuck_at, worker.stuck_seconds = reading, 0.0
            return False
        worker.stuck_seconds += waited
        return 0 < self._sample_timeout <= worker.stuck_seconds

    def _replace_stuck(self, worker: _Worker) -> None:
        reading = worker.watch.current()
        _kill(worker)
        if reading is not None and reading == worker.stuck_at:
            self._dataset.watch.ban(reading.video_id, HUNG)
            logger.warning(
                "%s: reading it did not end in %g s; it is skipped from now on, and worker %d starts anew",
                self._dataset.paths[reading.video_id],
                self._sample_timeout,
                worker.number,
            )
        self._replace(worker)

    def _replace_dead(self, worker: _Worker) -> None:
        cause = _describe_end(worker.process.exitcode)
        reading = worker.watch.current()
        if worker.process.exitcode in _ENDED_FROM_OUTSIDE:
            logger.warning("worker %d was %s; it starts anew", worker.number, cause)
        elif reading is None:
            self._idle_deaths += 1
            logger.warning("worker %d %s while it read no video; it starts anew", worker.number, cause)
            if self._idle_deaths > _MAX_IDLE_DEATHS:
                raise DataError(
                    f"the loader's workers die ({cause}) before they read anything; if the machine is short "
                    "of memory, set DATA_LOADER.NUM_WORKERS or the batch size lower"
                )
        else:
            self._count_death(reading.video_id, worker.number, cause)
        self._replace(worker)

    def _count_death(self, video_id: int, worker: int, cause: str) -> None:
        self._deaths[video_id] = self._deaths.get(video_id, 0) + 1
        banned = self._deaths[video_id] >= _DEATHS_OF_A_VIDEO
        if banned:
            self._dataset.watch.ban(video_id, KILLED)
        logger.warning(
            "%s: worker %d %s at it and starts anew; the video is %s",
            self._dataset.paths[video_id],
            worker,
            cause,
            "skipped from now on" if banned else "tried once more",
        )

    def _replace(self, worker: _Worker) -> None:
        """Puts a new worker in the place of a dead one and has it do what that one still owed."""
        worker.connection.close()
        successor = self._start(worker.number)
        self._workers[worker.number] = successor
        for number, items in worker.tasks.items():
            successor.give(number, items)

    def _start(self, number: int) -> _Worker:
        context = torch.multiprocessing.get_context()
        ours, theirs = context.Pipe()
        watch = self._dataset.watch.for_another_worker()
        process = context.Process(
            target=_work,
            args=(theirs, self._dataset, self._collate, watch),
            name=f"loader worker {number}",
            daemon=True,
        )
        process.start()
        theirs.close()
        return _Worker(number, process, ours, watch)


def _work(
    connection: Connection, dataset: WatchedDataset, collate: Callable[[list[Any]], Any], watch: Quarantine
) -> None:
    """Makes the batches that are asked for until the main process is gone."""
    # Ctrl-C and notices go to the whole process group; the main process ends its workers when it is ready.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    dataset.watch = watch
    parent = os.getppid()
    try:
        while True:
            # Workers started later hold this end open, too: only the parent's absence tells its end.
            while not connection.poll(_LOOK):
                if os.getppid() != parent:
                    return
            number, items = connection.recv()
            _answer(connection, number, _make(dataset, collate, items))
    except (EOFError, OSError):
        return


def _make(dataset: WatchedDataset, collate: Callable[[list[Any]], Any], items: Sequence[Any]) -> Any:
    """Makes a batch, or gives the exception that came up."""
    try:
        return collate([dataset[item] for item in items])
    except Exception as error:
        error.add_note(f"in a loader worker:\n{traceback.format_exc()}")
        return error


def _answer(connection: Connection, number: int, batch: Any) -> None:
    try:
        connection.send((number, batch))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        connection.send((number, RuntimeError(f"a worker's answer cannot be sent: {error}: {batch!r}")))


def _describe_end(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"ended by {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"


def _kill(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join(_JOIN_SECONDS)


def _end_all(workers: list[_Worker], owner: int) -> None:
    if os.getpid() != owner:  # a copy of the pool in a forked process
        return
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        _kill(worker)
        worker.connection.close()
