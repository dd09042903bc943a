"""A process with the model as the server sees it, and its replacement after a crash or a time limit."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from slowfast.exit_status import describe_exit
from vtn.serving.messages import Done, Failed, Job, ModelSource, Ready, Taken
from vtn.serving.worker import answer_jobs

START_SECONDS = 600.0
"""Longest time in which a worker must have loaded its model."""

_STOP_SECONDS = 5.0
_HANDOVERS = 2
# Signals by which a system ends a process that has done something impossible.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGBUS})


class WorkerLost(Exception):  # noqa: N818
    """The end of a worker process while it worked on a video.

    Args:
        exit_code: of the process, a negative one is the signal that ended it; None: not known.
    """

    def __init__(self, exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)

    @property
    def is_crash(self) -> bool:
        """Whether the process crashed, as a decoder may do at a hostile video."""
        return self.exit_code is not None and -self.exit_code in _CRASHES

    @property
    def is_error(self) -> bool:
        """Whether an exception ended the process, as a defect of the program or a failed device raises."""
        return self.exit_code is not None and self.exit_code > 0


class OutOfTime(Exception):  # noqa: N818
    """A video that took longer than the time limit; its worker was ended."""


class WorkerUnavailable(Exception):  # noqa: N818
    """A worker that cannot be started again."""


class WorkerProcess:
    """One process with the model; started again when it was lost.

    Args:
        model: that it loads.
        folder: for its temporary files, see :func:`vtn.serving.worker.answer_jobs`.
    """

    def __init__(self, model: ModelSource, folder: Path) -> None:
        self._model = model
        self._folder = folder
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
        process = context.Process(target=answer_jobs, args=(self._model, self._folder, other), daemon=True)
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
        except OutOfTime:
            raise WorkerUnavailable(f"the model was not loaded within {START_SECONDS:.0f} s") from None
        except WorkerLost:
            end = describe_exit(self._wait_for_end())
            raise WorkerUnavailable(f"the process with the model {end} while it was loaded") from None
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
        for _ in range(_HANDOVERS):
            self.wait_until_ready()
            end = time.monotonic() + seconds
            if self._hand_over(job, seconds):
                break
        else:
            raise WorkerUnavailable("the process with the model ended before it took a video")
        message = self._answer(end - time.monotonic())
        if not isinstance(message, Done | Failed):
            raise WorkerLost
        return message

    def _hand_over(self, job: Job, seconds: float) -> bool:
        """Gives a job to the process; returns False where the process ended before it took the job.

        Raises:
            OutOfTime: after ``seconds``.
        """
        try:
            if self._connection is None:
                return False
            self._connection.send(job)
        except OSError:
            self._discard()
            return False
        try:
            return isinstance(self._answer(seconds), Taken)
        except WorkerLost:
            return False

    def _answer(self, seconds: float) -> object:
        """Returns the next message; a process that has none is ended."""
        try:
            return self._receive(seconds)
        except OutOfTime:
            self._discard()
            raise
        except WorkerLost:
            exit_code = self._wait_for_end()
            self._discard()
            raise WorkerLost(exit_code) from None

    def _wait_for_end(self) -> int | None:
        """Returns the exit code of a process that has closed its pipe."""
        if (process := self._process) is None:
            return None
        end = time.monotonic() + _STOP_SECONDS
        process.join(_STOP_SECONDS)
        # Another thread that starts a process reads the exit codes of all processes, and sets this one later.
        while process.exitcode is None and time.monotonic() < end:
            time.sleep(0.01)
        return process.exitcode

    def _discard(self) -> None:
        """Ends a process that failed; :meth:`wait_until_ready` starts the next one."""
        self.num_replaced += 1
        self.stop()

    def discard_if_ended(self) -> bool:
        """Discards a process that has ended by itself with its model; returns whether it had."""
        process = self._process
        if not self.is_ready or process is None or process.is_alive():
            return False
        self._discard()
        return True

    def _receive(self, seconds: float) -> object:
        if self._connection is None:
            raise WorkerLost
        try:
            if not self._connection.poll(max(0.0, seconds)):
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
