"""Worker processes, each with the model, and their replacement after a crash or a time limit."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from slowfast.errors import ModelError
from vtn.serving.worker import Done, Failed, Job, ModelSource, Ready, run_worker

START_SECONDS = 600.0
"""Longest time in which a worker must have loaded its model."""

_STOP_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class WorkerLost(Exception):  # noqa: N818
    """The end of a worker process while it worked on a video."""


class OutOfTime(Exception):  # noqa: N818
    """A video that took longer than the time limit; its worker was ended."""


class WorkerUnavailable(Exception):  # noqa: N818
    """A worker that cannot be started again."""


class ClientLeft(Exception):  # noqa: N818
    """The departure of a client whose video waited for a worker."""


class Worker:
    """One process with the model; started again when it was lost.

    Args:
        model: that it loads.
    """

    def __init__(self, model: ModelSource) -> None:
        self._model = model
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self.class_names: tuple[str, ...] = ()
        self.is_ready = False
        self.has_failed = False
        self.num_replaced = 0

    def start(self) -> None:
        """Starts the process, without waiting for the model; does nothing after :meth:`close`.

        Raises:
            WorkerUnavailable: where the system starts no process.
        """
        try:
            with self._lock:
                if not self._is_closed:
                    self._start_process()
        except OSError as error:
            raise WorkerUnavailable(
                f"the process with the model cannot be started ({error.strerror or error}); free memory, or "
                "raise the limits of processes and open files"
            ) from error

    def _start_process(self) -> None:
        context = multiprocessing.get_context("spawn")
        connection, other = context.Pipe()
        process = context.Process(target=run_worker, args=(self._model, other), daemon=True)
        try:
            process.start()
        except OSError:
            connection.close()
            raise
        finally:
            other.close()  # so that the end of the process closes the pipe
        self._process, self._connection = process, connection

    def wait_until_ready(self) -> None:
        """Waits for the model.

        Raises:
            WorkerUnavailable: where the model cannot be loaded.
        """
        if self.is_ready:
            return
        try:
            self.class_names = self._load()
        except WorkerUnavailable:
            self.has_failed = True
            self.stop()
            raise
        self.is_ready, self.has_failed = True, False

    def _load(self) -> tuple[str, ...]:
        """Returns the names of the classes once the process has loaded the model."""
        if self._process is None:
            self.start()
        try:
            message = self._receive(START_SECONDS)
        except (OutOfTime, WorkerLost):
            raise WorkerUnavailable("the process with the model ended while it was loaded") from None
        if not isinstance(message, Ready):
            raise WorkerUnavailable(message.reason if isinstance(message, Failed) else str(message))
        return message.class_names

    def run(self, job: Job, seconds: float) -> Done | Failed:
        """Returns the answer to a job; a process that fails is ended, see :meth:`wait_until_ready`.

        Raises:
            OutOfTime: after ``seconds``.
            WorkerLost: where the process ended.
            WorkerUnavailable: where the process cannot load the model.
        """
        # A process that ended while it was idle, for instance for want of memory, is not due to this video.
        if not (self._send(job) or self._send(job)):
            raise WorkerUnavailable("the process with the model ended before it received a video")
        try:
            message = self._receive(seconds)
        except (OutOfTime, WorkerLost):
            self._discard()
            raise
        if not isinstance(message, Done | Failed):
            raise WorkerLost
        return message

    def _send(self, job: Job) -> bool:
        """Gives a job to the process, and returns whether it was still there to receive it."""
        self.wait_until_ready()
        try:
            if self._connection is not None:
                self._connection.send(job)
                return True
        except OSError:
            self._discard()
        return False

    def _discard(self) -> None:
        """Ends a process that failed; :meth:`wait_until_ready` starts the next one."""
        self.num_replaced += 1
        self.stop()

    def _receive(self, seconds: float) -> object:
        if self._connection is None:
            raise WorkerLost
        try:
            if not self._connection.poll(seconds):
                raise OutOfTime
            return self._connection.recv()
        except (EOFError, OSError):
            raise WorkerLost from None

    def stop(self) -> None:
        """Ends the process and waits for its end."""
        self.is_ready = False
        with self._lock:
            self._end_process()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def close(self) -> None:
        """Ends the process for good, also while another thread waits for its answer."""
        with self._lock:
            self._is_closed = True
            self._end_process()

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(_STOP_SECONDS)
            self._process = None

    @property
    def process_id(self) -> int | None:
        """Number of the process; None: not started."""
        return None if self._process is None else self._process.pid


class WorkerPool:
    """Workers that take jobs in the order of their arrival.

    Args:
        model: that each worker loads.
        size: number of workers.
    """

    def __init__(self, model: ModelSource, size: int) -> None:
        self.workers: Sequence[Worker] = [Worker(model) for _ in range(size)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._closing = threading.Event()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the model."""
        return self.workers[0].class_names

    def start(self) -> None:
        """Starts all workers and waits until they have loaded the model.

        Raises:
            ModelError: where it cannot be loaded.
        """
        try:
            for worker in self.workers:
                worker.start()
            for worker in self.workers:
                worker.wait_until_ready()
                self._idle.put(worker)
        except WorkerUnavailable as error:
            self.close()
            raise ModelError(str(error)) from None

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

    async def run(
        self, job: Job, seconds: float, wait_for_departure: Callable[[], Awaitable[object]]
    ) -> Done | Failed:
        """Returns the answer to a job once a worker is free and has computed it; see :meth:`Worker.run`.

        Args:
            job: to compute.
            seconds: limit of the time that the worker takes.
            wait_for_departure: returns as soon as the client does not wait for the answer anymore.

        Raises:
            ClientLeft: where the client departs before a worker has taken the job.
        """
        answer: Future[Done | Failed] = Future()
        self._threads.submit(self._run, job, seconds, answer)
        computing = asyncio.wrap_future(answer)
        leaving: asyncio.Future[Any] = asyncio.ensure_future(wait_for_departure())
        try:
            await asyncio.wait({computing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not computing.done() and answer.cancel():
                raise ClientLeft
            return await computing
        finally:
            leaving.cancel()
            computing.cancel()  # where the request ends first, at the end of the server; else without effect

    def _run(self, job: Job, seconds: float, answer: Future[Done | Failed]) -> None:
        """Gives the answer to a job, and then replaces the process if it was lost."""
        if not answer.set_running_or_notify_cancel():
            return
        if self._closing.is_set():
            answer.set_exception(WorkerUnavailable("the server is stopping"))
            return
        worker = self._idle.get()
        try:
            answer.set_result(worker.run(job, seconds))
        except (OutOfTime, WorkerLost) as error:
            answer.set_exception(error)  # first, as the client need not wait for the next process
            self._replace(worker)
        except BaseException as error:  # raised again where the answer is awaited
            answer.set_exception(error)
        finally:
            self._idle.put(worker)

    def _replace(self, worker: Worker) -> None:
        """Waits until a new process has loaded the model; after a failure the next job tries again."""
        try:
            worker.wait_until_ready()
        except WorkerUnavailable as error:
            if not self._closing.is_set():
                _logger.error("a worker cannot be started again: %s", error)

    def close(self) -> None:
        """Ends all workers; jobs that wait are refused."""
        self._closing.set()
        self._threads.shutdown(wait=False)
        for worker in self.workers:
            worker.close()
