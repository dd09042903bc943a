"""The processes with the model that a server shares among its requests."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from slowfast.errors import ModelError
from vtn.serving.messages import Done, Failed, Job, ModelSource
from vtn.serving.request_log import RequestRecord
from vtn.serving.worker_process import OutOfTime, WorkerLost, WorkerProcess, WorkerUnavailable

_WATCH_SECONDS = 2.0

_logger = logging.getLogger(__name__)


class ClientLeft(Exception):  # noqa: N818
    """The departure of a client whose video waited for a worker."""


class PoolStopped(Exception):  # noqa: N818
    """The end of the server before a video got a worker."""


class WorkerPool:
    """Workers that take jobs in the order of their arrival.

    Args:
        model: that each worker loads.
        size: number of workers.
        folder: for temporary files of the workers, see :func:`vtn.serving.worker.answer_jobs`.

    Attributes:
        workers: all of them.
        has_started: whether a worker has had the model once.
    """

    def __init__(self, model: ModelSource, size: int, folder: Path) -> None:
        self.workers: Sequence[WorkerProcess] = [WorkerProcess(model, folder) for _ in range(size)]
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._closing = threading.Event()
        self.has_started = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the model."""
        return self.workers[0].class_names

    def start(self) -> None:
        """Starts all workers and waits until they have loaded the model.

        Raises:
            ModelError: where it cannot be loaded.
        """
        starting = [*self.workers]
        try:
            for worker in starting:
                worker.start()
            while starting:
                starting[0].wait_until_ready()
                self._idle.put(starting.pop(0))
                self.has_started = True
            threading.Thread(target=self._watch, name="watch", daemon=True).start()
        except WorkerUnavailable as error:
            self.close()
            raise ModelError(str(error)) from None
        finally:
            for worker in starting:  # after an error; jobs that wait for them are refused
                self._idle.put(worker)

    @property
    def num_replaced(self) -> int:
        """Number of processes that crashed or ran out of time."""
        return sum(worker.num_replaced for worker in self.workers)

    @property
    def status(self) -> str:
        """State of the workers as :class:`vtn.serving.answers.Health` documents it."""
        if any(worker.has_failed for worker in self.workers):
            return "failed"
        return "ok" if all(worker.is_ready for worker in self.workers) else "starting"

    @property
    def is_ready(self) -> bool:
        """Whether a worker has loaded the model."""
        return any(worker.is_ready for worker in self.workers)

    @property
    def is_alive(self) -> bool:
        """Whether a worker has the model or is loading it, and not all of them have failed to."""
        return not all(worker.has_failed for worker in self.workers)

    async def run(
        self,
        job: Job,
        seconds: float,
        wait_for_departure: Callable[[], Awaitable[object]],
        record: RequestRecord,
    ) -> Done | Failed:
        """Returns the answer to a job once a worker is free and has computed it.

        Args:
            job: to compute.
            seconds: limit of the time that the worker takes.
            wait_for_departure: returns as soon as the client does not wait for the answer anymore.
            record: gets the durations of waiting and computing.

        Raises:
            ClientLeft: where the client departs before a worker has taken the job.
            PoolStopped: after :meth:`refuse_waiting` or :meth:`close`.
            OutOfTime, WorkerLost, WorkerUnavailable: see :meth:`WorkerProcess.run`.
        """
        answer: Future[Done | Failed] = Future()
        wait = ExitStack()
        wait.enter_context(record.measure("wait"))
        try:
            submitted = self._threads.submit(self._run, job, seconds, answer, wait, record)
        except RuntimeError:  # no thread takes a job anymore
            raise PoolStopped from None

        def refuse(submitted: Future[None]) -> None:
            if submitted.cancelled() and not answer.done():
                answer.set_exception(PoolStopped())

        submitted.add_done_callback(refuse)
        computing = asyncio.wrap_future(answer)
        leaving: asyncio.Future[Any] = asyncio.ensure_future(wait_for_departure())
        try:
            await asyncio.wait({computing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not computing.done() and answer.cancel():
                wait.close()
                raise ClientLeft
            return await computing
        finally:
            leaving.cancel()
            computing.cancel()  # where the request ends first, at the end of the server; else without effect

    def _run(
        self,
        job: Job,
        seconds: float,
        answer: Future[Done | Failed],
        wait: ExitStack,
        record: RequestRecord,
    ) -> None:
        """Gives the answer to a job, and then replaces the process if it was lost."""
        if not answer.set_running_or_notify_cancel():
            return
        if self._closing.is_set():
            answer.set_exception(PoolStopped())
            return
        worker = self._idle.get()
        wait.close()
        try:
            with record.measure("compute"):
                found = worker.run(job, seconds)
            answer.set_result(found)
        except (OutOfTime, WorkerLost) as error:
            answer.set_exception(error)  # first, as the client need not wait for the next process
            self._replace(worker)
        except BaseException as error:  # raised again where the answer is awaited
            answer.set_exception(error)
        finally:
            self._idle.put(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        """Waits until a new process has loaded the model; after a failure the next job tries again."""
        try:
            worker.wait_until_ready()
        except WorkerUnavailable as error:
            if not self._closing.is_set():
                _logger.error("a worker cannot be started again: %s", error)

    def _watch(self) -> None:
        """Replaces workers whose process ended while they were idle, before a request waits for the next."""
        while not self._closing.wait(_WATCH_SECONDS):
            with suppress(queue.Empty):
                worker = self._idle.get_nowait()  # the next call gets the next one
                try:
                    if worker.discard_if_ended():
                        _logger.warning("an idle process with the model has ended and is replaced")
                        self._replace(worker)
                finally:
                    self._idle.put(worker)

    def refuse_waiting(self) -> None:
        """Refuses all jobs that no worker has taken, and later ones; those in work continue."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Ends all workers; jobs that wait are refused."""
        self._closing.set()
        self._threads.shutdown(wait=False)
        for worker in self.workers:
            worker.close()
