"""Errors of loader workers that end the run, with their cause and a remedy."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import resource
import tempfile
import time
from pathlib import Path

import pytest

from slowfast.datasets.loading import workers
from slowfast.datasets.loading.loader import collate
from slowfast.datasets.loading.workers import WorkerPool
from slowfast.errors import DataError
from tests.support.loading.stand_in import BAD, do_nothing, stand_in_dataset, stand_in_loader
from tests.support.processes import run_forked


def test_an_exception_of_the_data_set_is_raised_with_the_workers_traceback() -> None:
    def divide() -> None:
        print(1 / 0)

    with pytest.raises(ZeroDivisionError) as caught:
        list(stand_in_loader(divide, workers=1, training=True))
    assert "in divide" in caught.value.__notes__[0]


class NamedError(Exception):
    """An exception of a user, of which no copy can be made: it has one argument, and its maker two."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}, line {line}")


def test_an_exception_that_cannot_be_copied_keeps_its_text_and_traceback() -> None:
    def refuse() -> None:
        raise NamedError("labels.json", 7)

    with pytest.raises(RuntimeError, match=r"NamedError: labels\.json, line 7") as caught:
        list(stand_in_loader(refuse, workers=1, training=True))
    assert "in refuse" in caught.value.__notes__[0]


def _allow_no_more_files() -> None:
    """Limits the files of this process to those that are open."""
    free = os.dup(0)  # the lowest number of a file that is not open
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_too_few_open_files_end_the_main_process_with_a_remedy() -> None:
    def run_out() -> int:
        batches = iter(stand_in_loader(do_nothing, workers=1))
        next(batches)
        _allow_no_more_files()
        try:
            list(batches)
        except DataError as error:
            return 5 if re.match("a batch cannot pass .*`ulimit -n 65536`", str(error)) else 1
        return 1

    assert run_forked(run_out) == 5


def test_too_few_open_files_of_a_worker_end_the_run_with_a_remedy() -> None:
    pool = WorkerPool(stand_in_dataset(_allow_no_more_files), collate, num_workers=1, sample_timeout=1)
    with pytest.raises(DataError, match="too many files are open; allow more before the start"):
        list(pool.run([[BAD]]))


class Unsendable:
    """A batch that raises an error while it is pickled."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> str:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            RuntimeError("unable to allocate shared memory(shm) for file </a>: No space left on device (28)"),
            DataError,
            r"the shared memory in /dev/shm is full; enlarge it .*--shm-size",
        ),
        (OSError(errno.EIO, "Input/output error"), RuntimeError, "cannot be sent .*: .*Input/output error"),
        (RuntimeError("no storage"), RuntimeError, "a batch cannot be sent from its worker: .*no storage"),
        (TypeError("a generator"), RuntimeError, "a batch cannot be sent from its worker: .*a generator"),
    ],
)
def test_a_batch_that_cannot_be_sent_ends_the_run_with_the_reason(
    error: Exception, kind: type[Exception], message: str
) -> None:
    data = stand_in_dataset(do_nothing)
    pool = WorkerPool(data, lambda _: Unsendable(error), num_workers=1, sample_timeout=0)
    with pytest.raises(kind, match=message):
        list(pool.run([[0], [1]]))


def test_a_temporary_folder_with_a_long_path_ends_the_run_with_a_remedy(tmp_path: Path) -> None:
    """Tensors pass by sockets in it, whose paths the system limits to about 100 characters."""
    folder = tmp_path / ("a" * 100)
    folder.mkdir()

    def move_temporary_folder() -> None:
        tempfile.tempdir = str(folder)
        multiprocessing.current_process()._config["tempdir"] = str(folder)  # type: ignore[attr-defined]

    pool = WorkerPool(stand_in_dataset(move_temporary_folder), collate, num_workers=1, sample_timeout=1)
    with pytest.raises(DataError, match=rf"is too long for a socket: {folder}; set TMPDIR to a shorter one"):
        list(pool.run([[BAD]]))


def _die_collating(items: list[object]) -> object:
    os._exit(3)


def test_workers_that_die_before_reading_end_the_run_with_a_remedy() -> None:
    data = stand_in_dataset(do_nothing)
    pool = WorkerPool(data, _die_collating, num_workers=1, sample_timeout=0)
    with pytest.raises(DataError, match=r"ended with status 3.*NUM_WORKERS or the batch size lower"):
        list(pool.run([[0], [1]]))


def _stop_collating(items: list[object]) -> object:
    time.sleep(1000)
    return items


def test_workers_that_stop_again_and_again_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_MIN_IDLE_SECONDS", 0.5)
    pool = WorkerPool(stand_in_dataset(do_nothing), _stop_collating, num_workers=1, sample_timeout=0.2)
    with pytest.raises(DataError, match=r"has neither read a video nor sent a batch for 0\.6 s"):
        list(pool.run([[0]]))
