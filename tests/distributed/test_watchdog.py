"""The watchdog: forked processes of a run end together, and one of them reports the reason."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from slowfast.distributed import shutdown, watchdog
from slowfast.distributed.blocking import blocking_on, current_blocking_call, main_thread_location
from slowfast.distributed.deadline import Deadline
from slowfast.distributed.failure import Failure, StatusBoard, describe_end
from slowfast.distributed.rendezvous.meeting import meet
from slowfast.distributed.rendezvous.peers import PeerInfo
from slowfast.distributed.watchdog import Watchdog
from slowfast.distributed.world import World, free_local_address
from slowfast.errors import ConfigError, DataError
from slowfast.interrupt import Interrupt
from slowfast.log import setup_logging
from tests.support.processes import run_all


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {
        watchdog: {"_HEARTBEAT": 0.1, "_CHECK": 0.05, "_CAUSE": 0.5, "SILENCE": 3.0},
        shutdown: {"_ANSWER": 1.0, "_GRACE": 0.3, "_READ": 0.2},
    }
    for module, periods in quick.items():
        for name, seconds in periods.items():
            monkeypatch.setattr(module, f"{name}_SECONDS", seconds)


def ends(folder: Path, size: int, behaviour: Any) -> tuple[list[int], list[str], list[str]]:
    """Runs ``behaviour(rank)`` in each process; returns exit codes, terminal output and log files."""
    address = free_local_address()
    codes = run_all(_process, [(rank, size, address, folder, behaviour) for rank in range(size)], seconds=30)
    logs = [folder / ("stdout.log" if rank == 0 else f"stdout_rank{rank}.log") for rank in range(size)]
    return (
        codes,
        [(folder / f"stderr{r}").read_text() for r in range(size)],
        [log.read_text() for log in logs],
    )


def _process(rank: int, size: int, address: str, folder: Path, behaviour: Any) -> int:
    sys.stderr = io.TextIOWrapper((folder / f"stderr{rank}").open("wb", buffering=0), write_through=True)
    setup_logging(folder, rank)
    store = meet(PeerInfo(rank, size), address, Deadline(20))
    log = folder / ("stdout.log" if rank == 0 else f"stdout_rank{rank}.log")
    with Watchdog(store, World(rank, size), timeout=10.0, log_file=log, interrupt=Interrupt()) as dog:
        try:
            behaviour(rank)
        except Exception as error:
            code = dog.fail(error)
            return -1 if code is None else code
    return 0


def finish(rank: int) -> None:
    time.sleep(0.3 * rank)


def raise_an_exception(rank: int) -> None:
    if rank == 1:
        raise ValueError("a defect")
    time.sleep(20)


def raise_an_exception_after_the_terminal_is_gone(rank: int) -> None:
    sys.stderr.close()
    raise_an_exception(rank)


def raise_a_user_error(rank: int) -> None:
    if rank == 2:
        raise ConfigError("KEY = 1: is wrong; use 2")
    time.sleep(20)


def kill_rank_1(rank: int) -> None:
    time.sleep(1.0)
    if rank == 1:
        os.kill(os.getpid(), 9)
    raise RuntimeError("gloo: Connection closed by peer")


def kill_rank_0(rank: int) -> None:
    if rank == 0:
        time.sleep(1.0)
        os.kill(os.getpid(), 9)
    time.sleep(20)


def hang(rank: int) -> None:
    if rank == 0:
        time.sleep(20)
    with blocking_on("a sum over all ranks", 1.0):
        time.sleep(20)


def _stop_where_the_store_ends_first(rank: int, size: int, address: str, folder: Path) -> int:
    sys.stderr = io.TextIOWrapper((folder / f"stderr{rank}").open("wb", buffering=0), write_through=True)
    store = meet(PeerInfo(rank, size), address, Deadline(20))
    with Watchdog(store, World(rank, size), timeout=10.0, log_file=None, interrupt=Interrupt()) as dog:
        if rank == 0:
            store.wait(["inside"])
        store.set("inside", "")
        dog.stop(signal.SIGUSR1)
        if rank == 0:
            os._exit(0)
        time.sleep(1.0)  # several heartbeats
    return 0


def test_a_stop_is_not_reported_as_a_loss_where_the_store_ends_first(tmp_path: Path) -> None:
    """As with a signal to all processes, which ends torchrun at once."""
    address = free_local_address()
    given = [(rank, 2, address, tmp_path) for rank in range(2)]
    assert run_all(_stop_where_the_store_ends_first, given, seconds=30) == [0, 0]
    assert (tmp_path / "stderr1").read_text() == ""


def test_processes_that_have_finished_leave_without_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "SILENCE_SECONDS", 30.0)  # none is silent here; a busy computer delays some
    codes, terminals, _ = ends(tmp_path, 3, finish)
    assert (terminals, codes) == (["", "", ""], [0, 0, 0])


def test_rank_0_prints_an_exception_once_and_all_processes_end(tmp_path: Path) -> None:
    begun = time.monotonic()
    codes, terminals, logs = ends(tmp_path, 3, raise_an_exception)
    assert codes == [1, 1, 1]
    assert time.monotonic() - begun < 10
    assert terminals[1:] == ["", ""]
    assert terminals[0].startswith("rank 1 on ")
    assert terminals[0].splitlines()[1].startswith("Traceback")
    assert "ValueError: a defect" in terminals[0]
    assert "ValueError: a defect" in logs[1]
    assert all("in _process" in log for log in logs)  # the stacks


def test_all_processes_end_where_nothing_can_be_printed(tmp_path: Path) -> None:
    codes, _, logs = ends(tmp_path, 2, raise_an_exception_after_the_terminal_is_gone)
    assert codes == [1, 1]
    assert "ValueError: a defect" in logs[0]


def test_a_user_error_has_no_traceback_and_keeps_its_exit_code(tmp_path: Path) -> None:
    codes, terminals, _ = ends(tmp_path, 3, raise_a_user_error)
    assert codes == [2, 2, 2]
    assert "KEY = 1: is wrong; use 2" in terminals[0]
    assert "Traceback" not in terminals[0]


def test_a_killed_process_is_reported_instead_of_its_consequences(tmp_path: Path) -> None:
    codes, terminals, _ = ends(tmp_path, 3, kill_rank_1)
    assert codes == [1, -9, 1]
    assert terminals[0].startswith("rank 1 on ")
    assert "no answer. The process was killed" in terminals[0]
    assert "Traceback" not in terminals[0]
    assert terminals[2] == ""


def test_the_other_ranks_report_the_loss_of_rank_0(tmp_path: Path) -> None:
    codes, terminals, _ = ends(tmp_path, 2, kill_rank_0)
    assert codes == [-9, 1]
    assert "rank 1: rank 0, or torchrun on its node, is gone" in terminals[1]


def test_a_hang_is_reported_with_the_locations_and_stacks_of_all_ranks(tmp_path: Path) -> None:
    codes, terminals, logs = ends(tmp_path, 2, hang)
    assert codes == [1, 1]
    assert "waited 1 s for a sum over all ranks; DIST_TIMEOUT allows 1 s" in terminals[0]
    assert "location of each rank:\n  rank 0: " in terminals[0]
    assert all("in hang" in log for log in logs)


def _ends_when_asked_to(rank: int, address: str) -> int:
    store = meet(PeerInfo(rank, 2), address, Deadline(20))
    with (
        Interrupt() as interrupt,
        Watchdog(store, World(rank, 2), timeout=10.0, log_file=None, interrupt=interrupt),
    ):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        while not interrupt.requested():
            time.sleep(0.02)
    return interrupt.signum


def test_a_request_to_stop_reaches_all_ranks_while_they_go_on() -> None:
    address = free_local_address()
    assert run_all(_ends_when_asked_to, [(rank, address) for rank in range(2)], seconds=30) == [15, 15]


def _hangs(rank: int, address: str, folder: Path) -> int:
    store = meet(PeerInfo(rank, 2), address, Deadline(20))
    log = folder / f"log{rank}"
    with Watchdog(store, World(rank, 2), timeout=10.0, log_file=log, interrupt=Interrupt()) as dog:
        if rank == 0:
            dog.call_before_exit((folder / "closed").touch)
            dog.call_before_exit(lambda: time.sleep(100))  # a server that does not answer
        hang(rank)
    return 0


def test_trackers_are_closed_before_a_blocked_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "_CLOSE_SECONDS", 0.5)
    address = free_local_address()
    assert run_all(_hangs, [(rank, address, tmp_path) for rank in range(2)], seconds=50) == [1, 1]
    assert (tmp_path / "closed").exists()


def test_other_threads_can_read_what_blocks_the_main_thread() -> None:
    assert current_blocking_call() is None
    with blocking_on("the end"), blocking_on("something within it"):
        wait = current_blocking_call()
        assert wait is not None
        assert wait.what == "the end"
        assert "waiting 0 s for the end" in main_thread_location()
    assert current_blocking_call() is None


@pytest.fixture
def board() -> StatusBoard:
    store = dist.HashStore()
    return StatusBoard(store, 0, 2)


def test_the_first_failure_is_the_failure_of_the_run(board: StatusBoard) -> None:
    assert board.failure() is None
    for rank in (1, 0):
        board.report(Failure("error", rank, "text", 1))
    failure = board.failure()
    assert failure is not None
    assert failure.rank == 1


def test_a_process_that_has_finished_is_shown_as_such_whatever_it_does_then(board: StatusBoard) -> None:
    """Rank 0 still waits for the others; a failure of one of these makes it store where it is."""
    board.leave()
    board.set_location("somewhere")
    assert board.locations() == {0: "finished"}


def test_an_error_that_only_names_the_network_is_an_error_when_all_answer(board: StatusBoard) -> None:
    text = describe_end(Failure("error", 0, "gloo: Connection closed", 1), board, {1: "there"})
    assert text.startswith("rank 0 failed:\ngloo: Connection closed")


def test_a_user_error_is_shown_by_its_message_alone(board: StatusBoard) -> None:
    failure = Failure("error", 1, str(DataError("half of the videos are broken")), 1, expected=True)
    assert describe_end(failure, board, {}) == "rank 1: half of the videos are broken"
