"""The worker process of a loader: builds the batches that the main process assigns, or sends the error."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from slowfast.datasets.loading.quarantine import Quarantine
from slowfast.errors import DataError, UsageError
from slowfast.interrupt import sparing_new_processes
from slowfast.timing.stage_times import COLLATING, COPYING, measure, take_times

# Seconds between two checks for a dead or stuck process, by workers and main process alike.
POLL_SECONDS = 0.5
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
# Exit status of a process that would start others while it is started itself; EX_CONFIG of sysexits.h.
_STARTS_OTHERS = 78
_NO_GUARD = (
    "the main script starts processes, and each of them imports the script first, as on macOS; put "
    'what the script does under `if __name__ == "__main__":`'
)


class QuarantinedDataset(Protocol):
    """A data set that records what it reads in ``quarantine`` and obeys its bans."""

    quarantine: Quarantine

    @property
    def paths(self) -> Sequence[str]: ...

    def find_same_file(self, video_id: int) -> NDArray[np.int64]: ...

    def __getitem__(self, item: Any) -> Any: ...


def worker_context() -> Any:
    """Returns the ``multiprocessing`` context of workers: on Linux they are forked, unless spawn is set.

    A forked worker starts within milliseconds, shares the memory of the lists, and takes data sets that
    cannot be pickled. From Python 3.14 on the default is a fork server, whose processes import all modules.

    Where workers are not forked, it ends a process that is still starting; see :func:`check_start`.
    """
    # With allow_none, since asking for the default would fix it: the program could not set it any more.
    forks = sys.platform == "linux" and multiprocessing.get_start_method(allow_none=True) != "spawn"
    if not forks and getattr(multiprocessing.current_process(), "_inheriting", False):
        # Also here, since the parent may be a pool of the user, which would start processes without an end.
        print(f"{multiprocessing.current_process().name}: {_NO_GUARD}", file=sys.stderr)
        sys.exit(_STARTS_OTHERS)
    return multiprocessing.get_context("fork" if forks else "spawn")


def run_worker(
    connection: Connection,
    dataset: QuarantinedDataset,
    collate: Callable[[list[Any]], Any],
    quarantine: Quarantine,
) -> None:
    """Builds the assigned batches until the main process is gone."""
    prepare_process()
    take_times()  # those of the main process, of which this one is a fork
    dataset.quarantine = quarantine
    parent = os.getppid()
    try:
        while True:
            # Workers that were started later also hold the other end of this connection open, so it is not
            # closed when the main process ends: check for the parent instead.
            while not connection.poll(POLL_SECONDS):
                if os.getppid() != parent:
                    return
            number, items = connection.recv()
            _send_batch(connection, number, _build_batch(dataset, collate, items))
    except (EOFError, OSError):  # the main process is gone
        return


def start_process(process: Any, context: Any) -> None:
    """Starts a worker process of a context.

    Raises:
        DataError: where the process is not forked and the data set cannot be sent to it.
    """
    try:
        with sparing_new_processes(context):
            process.start()
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise DataError(
            f"the data set cannot be sent to the workers, which are not forked, as on macOS: {error}; define "
            "its classes and functions at the top level of a module, or set DATA_LOADER.NUM_WORKERS 0"
        ) from error


def check_start(exit_code: int | None) -> None:
    """Raises ``UsageError`` where a process ended because it imports the user's script, which starts others.

    A process that is not forked imports the script first. Python would print a traceback for each process.
    """
    if exit_code == _STARTS_OTHERS:
        raise UsageError(_NO_GUARD)


def prepare_process() -> None:
    """Prepares a process that reads videos for another one, which starts it, and ends it itself."""
    # Ctrl-C and SIGUSR1 reach the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    # Garbage of the main process may own threads (a store of torch.distributed does), which do not exist in a
    # forked process: collecting it here would end the worker.
    gc.freeze()


def _build_batch(
    dataset: QuarantinedDataset, collate: Callable[[list[Any]], Any], items: Sequence[Any]
) -> Any:
    """Returns a batch, or the exception that building it raised."""
    try:
        clips = [dataset[item] for item in items]
        with measure(COLLATING):
            return collate(clips)
    except Exception as error:
        error.add_note(f"in a loader worker:\n{traceback.format_exc()}")
        return _portable(error)


def _portable(error: Exception) -> Exception:
    """Returns an error that the main process can receive: a copy may need other arguments than it has."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (bytes of this process)
    except Exception:
        portable = RuntimeError(f"{type(error).__name__}: {error}")
        for note in error.__notes__:
            portable.add_note(note)
        return portable
    return error


def _send_batch(connection: Connection, number: int, batch: Any) -> None:
    """Sends a batch, or the error that prevents it, with the seconds of each stage since the last call.

    The time of sending the previous batch is among them.
    """
    times = take_times()
    with measure(COPYING):
        try:
            connection.send((number, batch, times))
        except ConnectionError:  # the main process is gone
            raise
        except Exception as error:
            # Pickling, which moves tensors into shared memory, ends before the first byte is sent. Therefore
            # an error can be sent in place of the batch.
            problem = find_shortage(error) or RuntimeError(
                f"a batch cannot be sent from its worker: {error}: {batch!r}"
            )
            connection.send((number, problem, times))


def find_shortage(error: BaseException) -> DataError | None:
    """Returns the error with a remedy for one of open files, shared memory or TMPDIR; else None.

    torch raises ``RuntimeError`` with the text of the system's error, and multiprocessing one about
    ``ancdata`` where a descriptor that was sent could not be opened.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number in _TOO_MANY_FILES or "ancdata" in text or "Too many open files" in text:
        return DataError(
            "a batch cannot pass from a worker of the loader to the main process, because too many files are "
            "open; allow more before the start with `ulimit -n 65536`, or set DATA_LOADER.NUM_WORKERS lower"
        )
    if number == errno.ENOSPC or "No space left on device" in text:
        return DataError(
            "a batch cannot pass from a worker of the loader to the main process, because the shared memory "
            "in /dev/shm is full; enlarge it (in Docker with --shm-size=16g or --ipc=host), or set "
            "DATA_LOADER.NUM_WORKERS or the batch size lower"
        )
    if "AF_UNIX path too long" in text:
        return DataError(
            "a batch cannot pass from a worker of the loader to the main process, because the path of the "
            f"temporary folder is too long for a socket: {tempfile.gettempdir()}; set TMPDIR to a shorter one"
        )
    return None
