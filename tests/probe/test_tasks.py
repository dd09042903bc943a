"""Results of tasks on disk, and the processes that compute them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from slowfast.config import get_default_config
from slowfast.interrupt import Interrupt
from slowfast.probe import tasks
from slowfast.probe.run import choose_workers
from slowfast.probe.tasks import Problem, ResultFiles, Runner, Task
from slowfast.probe.training import Trained
from tests.support.probing.feature_files import random_table
from tests.support.processes import run_forked

TASK = Task("majority class", 0)


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    files = ResultFiles(tmp_path)
    files.write(TASK, Trained(np.ones((4, 2), np.float32), (0.5, 0.25), 1.5))
    return files


def test_a_result_is_read_as_it_was_written(files: ResultFiles) -> None:
    result = files.read(TASK)
    assert result is not None
    assert result.scores.tolist() == [[1.0, 1.0]] * 4
    assert (result.losses, result.seconds) == ((0.5, 0.25), 1.5)
    assert files.read(Task("majority class", 1)) is None


def test_a_damaged_result_is_one_that_is_not_finished(files: ResultFiles, tmp_path: Path) -> None:
    path = tmp_path / TASK.file_name
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    contents = [b"", intact[:80], intact[: len(intact) // 2], intact[:-30], b"text" * 100]
    for position in rng.integers(len(intact), size=300):
        contents.append(intact[:position] + rng.bytes(8) + intact[position + 8 :])
    np.save(tmp_path / "array.npy", np.ones(3))
    contents.append((tmp_path / "array.npy").read_bytes())
    for content in contents:
        path.write_bytes(content)
        result = files.read(TASK)
        assert result is None or result.scores.tolist() == [[1.0, 1.0]] * 4


@pytest.fixture
def problem() -> Problem:
    table = random_table(4, (8,))
    return Problem(get_default_config(), table, np.arange(4) % 2, table.groups, torch.device("cpu"))


def _is_announced_an_end(problem: Problem, rows: Path) -> None:
    tasks._start_worker(problem, str(rows), None)
    os.kill(os.getpid(), signal.SIGUSR1)


def test_a_process_leaves_the_signal_of_a_scheduler_to_its_parent(problem: Problem, tmp_path: Path) -> None:
    """It reaches all processes of a job; the search, which ends them, would report a lack of memory."""
    torch.save(problem.table.rows, tmp_path / "rows.pt")
    assert run_forked(_is_announced_an_end, problem, tmp_path / "rows.pt") == 0


def _search_until_killed(problem: Problem, folder: Path, connection: Connection) -> None:
    with Runner(problem, ResultFiles(folder), workers=2, scratch=folder, interrupt=Interrupt()) as runner:
        runner.run([TASK, Task(TASK.method, 1)], "fit")
        connection.send([child.pid for child in psutil.Process().children()])
        time.sleep(600)


@pytest.mark.faults  # the processes import everything
def test_the_processes_of_a_killed_search_end(problem: Problem, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    search = context.Process(target=_search_until_killed, args=(problem, tmp_path, sender))
    search.start()
    sender.close()
    processes = [psutil.Process(pid) for pid in receiver.recv()]
    search.kill()
    search.join()
    _, alive = psutil.wait_procs(processes, timeout=30)
    for process in alive:
        process.kill()
    assert len(processes) > 1
    assert not alive


def test_there_are_no_more_processes_than_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of 4 cores on a node of 64 started 64 processes, each with its own torch."""
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 64)
    monkeypatch.setattr("slowfast.probe.run.usable_cores", lambda: 4, raising=False)
    assert [choose_workers(wanted, torch.device("cpu")) for wanted in (0, 8)] == [4, 8]
    assert choose_workers(8, torch.device("cuda")) == 1
