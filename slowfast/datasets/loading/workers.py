"""Worker processes that build batches and that may hang or die.

Why not ``torch.utils.data.DataLoader``: it ends the run when a worker dies (from a signal handler, wherever
the main process is), waits without limit for a stuck worker, and does not report the sample a worker was
reading. Here each worker has its own connection and records what it reads
(:class:`slowfast.datasets.loading.quarantine.Quarantine`). A worker that dies or gets stuck is replaced, its
video is banned, and its batches are built again.
"""

from __future__ import annotations

import os
import pickle
import signal
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.loading.quarantine import HUNG, KILLED
from slowfast.datasets.loading.worker_handle import Worker
from slowfast.datasets.loading.worker_process import (
    POLL_SECONDS,
    QuarantinedDataset,
    check_start,
    find_shortage,
    run_worker,
    start_process,
    worker_context,
)
from slowfast.errors import DataError
from slowfast.exit_status import describe_exit
from slowfast.files import share_temporary_folder
from slowfast.log import get_logger
from slowfast.timing.stage_times import StageTimes

logger = get_logger(__name__)

# Batches assigned to each worker ahead of the batch that is awaited.
_BATCHES_AHEAD = 2
# A machine short of memory may kill a worker at a sound video, so only the second death bans the video.
_DEATHS_UNTIL_BAN = 2
# Consecutive ends of workers that were reading no video, before the run fails.
_MAX_IDLE_ENDS = 3
# A worker that reads no video is stuck after this multiple of a sample's timeout, and at least these seconds.
_IDLE_TIMEOUTS = 3
_MIN_IDLE_SECONDS = 60.0
# Exit codes after signals that end the whole run, from a scheduler or a terminal.
_ENDED_FROM_OUTSIDE = (-signal.SIGTERM, -signal.SIGHUP)


class WorkerPool:
    """A pool of worker processes that build batches; they start with the first batch and end with the pool.

    Args:
        dataset: each worker has a copy with its own quarantine record.
        collate: builds a batch from a list of items.
        num_workers: 1 or more.
        sample_timeout: seconds that reading one video may take while its batch is awaited; 0: no limit. A
            worker that reads no video and sends no batch is replaced after several times as many.
        pin_memory: pin each batch when it arrives, in a thread of its own.

    Attributes:
        times: seconds that all workers have spent on the batches that have arrived.
    """

    def __init__(
        self,
        dataset: QuarantinedDataset,
        collate: Callable[[list[Any]], Any],
        *,
        num_workers: int,
        sample_timeout: float,
        pin_memory: bool = False,
    ) -> None:
        self._dataset = dataset
        self._collate = collate
        self._sample_timeout = sample_timeout
        self._workers: list[Worker] = []
        self._num_workers = num_workers
        self._next_number = 0
        self._deaths: dict[int, int] = {}
        self._idle_ends = 0
        self._finished: dict[int, Any] = {}
        self.times = StageTimes()
        self._current_run: object = None
        self._pinner = ThreadPoolExecutor(1) if pin_memory else None
        weakref.finalize(self, _terminate_all, self._workers, os.getpid())

    def run(self, batches: Iterable[Sequence[Any]]) -> Iterator[Any]:
        """Yields ``collate([dataset[item] for item in items])`` for each list of items, in their order.

        A new run ends an earlier one that was not consumed to its end.

        Raises:
            DataError: when workers end repeatedly without reading a video, when the data set cannot be sent
                to them, and when open files or shared memory do not suffice for the batches.
            UsageError: see :func:`slowfast.datasets.loading.worker_process.check_start`.
            Exception: the exception of the data set, when its batch is due.
        """
        while len(self._workers) < self._num_workers:
            self._workers.append(self._start(len(self._workers)))
        self._discard_pending()
        self._current_run = this_run = object()
        remaining = iter(batches)
        due = self._next_number
        try:
            while self._current_run is this_run:
                # Keep a bounded number of batches assigned, each to the worker with the fewest.
                while self._next_number - due < _BATCHES_AHEAD * self._num_workers:
                    if (items := next(remaining, None)) is None:
                        break
                    min(self._workers, key=lambda worker: len(worker.tasks)).assign(self._next_number, items)
                    self._next_number += 1
                if due == self._next_number:
                    return
                # Batches arrive in any order; yield them in the order of their numbers.
                while due not in self._finished:
                    self._poll_workers(due)
                batch = self._finished.pop(due)
                if isinstance(batch, Future):
                    batch = batch.result()
                if isinstance(batch, Exception):
                    raise batch
                due += 1
                yield batch
            raise RuntimeError("the loader was iterated again before this iteration had ended")
        finally:
            if self._current_run is this_run:
                self._discard_pending()

    def _discard_pending(self) -> None:
        """Ends the current run and discards its batches, those that arrive later included."""
        self._current_run = None
        self._finished.clear()
        for worker in self._workers:
            worker.tasks.clear()

    def _poll_workers(self, due: int) -> None:
        """Waits briefly for the batch ``due`` and receives all; replaces workers that are dead or stuck."""
        before = time.monotonic()
        wait([source for w in self._workers for source in (w.connection, w.process.sentinel)], POLL_SECONDS)
        # Count only the time spent waiting here: the whole run may have been suspended for hours.
        waited = min(time.monotonic() - before, POLL_SECONDS)
        for worker in list(self._workers):
            self._receive_batches(worker)
            if not worker.process.is_alive():
                self._replace_dead(worker)
            elif self._is_stuck(worker, waited, due):
                self._replace_stuck(worker)

    def _receive_batches(self, worker: Worker) -> None:
        try:
            while worker.connection.poll():
                number, batch, times = worker.connection.recv()
                self._idle_ends = 0
                worker.stuck_at = None
                self.times += times
                if worker.tasks.pop(number, None) is None:
                    continue
                if self._pinner is not None and not isinstance(batch, Exception):
                    batch = self._pinner.submit(batch.pin_memory)
                self._finished[number] = batch
        except (EOFError, OSError, pickle.UnpicklingError, RuntimeError) as error:
            if (shortage := find_shortage(error)) is not None:
                raise shortage from error
            if isinstance(error, RuntimeError):
                raise
            # The worker died while it sent a batch; that batch stays among its tasks.
            worker.kill()

    def _is_stuck(self, worker: Worker, waited: float, due: int) -> bool:
        state = worker.quarantine.observe()
        # A worker may be idle without limit while the awaited batch is not among its tasks.
        if state != worker.stuck_at or (state.is_idle and due not in worker.tasks):
            worker.stuck_at, worker.stuck_seconds = state, 0.0
            return False
        worker.stuck_seconds += waited
        limit = self._idle_timeout if state.is_idle else self._sample_timeout
        return self._sample_timeout > 0 and worker.stuck_seconds >= limit

    @property
    def _idle_timeout(self) -> float:
        """Seconds that a worker may take to start, or to build a batch of what it has read."""
        return max(_IDLE_TIMEOUTS * self._sample_timeout, _MIN_IDLE_SECONDS)

    def _replace_stuck(self, worker: Worker) -> None:
        state = worker.quarantine.observe()
        worker.kill()
        if state == worker.stuck_at:
            if state.is_idle:
                self._count_idle_end(
                    worker.number, f"has neither read a video nor sent a batch for {self._idle_timeout:g} s"
                )
            else:
                self._ban_stuck(state.video_id, worker.number)
        self._replace(worker)

    def _ban_stuck(self, video_id: int, worker: int) -> None:
        videos = self._dataset.find_same_file(video_id)
        self._dataset.quarantine.ban(videos, HUNG)
        logger.warning(
            "%s: reading the video did not end within %g s (DATA_LOADER.SAMPLE_TIMEOUT); %s skipped from now "
            "on, and worker %d is restarted",
            self._dataset.paths[video_id],
            self._sample_timeout,
            _describe(videos),
            worker,
        )

    def _replace_dead(self, worker: Worker) -> None:
        check_start(worker.process.exitcode)
        cause = describe_exit(worker.process.exitcode)
        state = worker.quarantine.observe()
        if worker.process.exitcode in _ENDED_FROM_OUTSIDE:
            logger.warning("worker %d %s; it is restarted", worker.number, cause)
        elif state.is_idle:
            self._count_idle_end(worker.number, f"{cause} while it read no video")
        else:
            self._count_death(state.video_id, worker.number, cause)
        self._replace(worker)

    def _count_idle_end(self, worker: int, cause: str) -> None:
        self._idle_ends += 1
        logger.warning("worker %d %s; it is restarted", worker, cause)
        if self._idle_ends > _MAX_IDLE_ENDS:
            raise DataError(
                f"the loader's workers end before they read a video (the last one {cause}); a traceback above"
                " shows why, or else memory is short: set DATA_LOADER.NUM_WORKERS or the batch size lower"
            )

    def _count_death(self, video_id: int, worker: int, cause: str) -> None:
        videos = self._dataset.find_same_file(video_id)
        file = int(videos[0])
        self._deaths[file] = self._deaths.get(file, 0) + 1
        banned = self._deaths[file] >= _DEATHS_UNTIL_BAN
        if banned:
            self._dataset.quarantine.ban(videos, KILLED)
        logger.warning(
            "%s: worker %d %s while it read this video, and is restarted; %s %s",
            self._dataset.paths[video_id],
            worker,
            cause,
            _describe(videos),
            "skipped from now on" if banned else "tried again",
        )

    def _replace(self, worker: Worker) -> None:
        """Starts a new worker in place of a dead one and assigns it the batches that are still due."""
        worker.connection.close()
        successor = self._start(worker.number)
        self._workers[worker.number] = successor
        for number, items in worker.tasks.items():
            successor.assign(number, items)

    def _start(self, number: int) -> Worker:
        share_temporary_folder()  # workers are killed at the end of the pool
        context = worker_context()
        connection, worker_connection = context.Pipe()
        quarantine = self._dataset.quarantine.for_another_worker()
        process = context.Process(
            target=run_worker,
            args=(worker_connection, self._dataset, self._collate, quarantine),
            name=f"loader worker {number}",
            daemon=True,
        )
        start_process(process, context)
        worker_connection.close()
        return Worker(number, process, connection, quarantine)


def _describe(videos: NDArray[np.int64]) -> str:
    """Returns the rows of one file as the subject of a sentence."""
    return "the video is" if len(videos) == 1 else f"the {len(videos)} videos of this file are"


def _terminate_all(workers: list[Worker], owner: int) -> None:
    if os.getpid() != owner:  # this is a copy of the pool in a forked process
        return
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.kill()
        worker.connection.close()
