"""Processes of a run end together and say why; small ones that are forked."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

import slowfast.distributed.watchdog
from slowfast.distributed.blocking import blocking_on, current_wait, main_thread_place
from slowfast.distributed.failure import Failure, StatusBoard, describe
from slowfast.distributed.rendezvous import Deadline, PeerInfo, meet
from slowfast.distributed.watchdog import Watchdog
from slowfast.distributed.world import World, free_local_address
from slowfast.errors import ConfigError, DataError
from slowfast.log import setup_logging
from tests.support.processes import run_all


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_MESSENGER_LOOK", 0.1), ("_GUARD_LOOK", 0.05), ("_CAUSE_SECONDS", 0.5)):
        monkeypatch.setattr(slowfast.distributed.watchdog, name, seconds)
    for name, seconds in (("_ANSWER_SECONDS", 1.0), ("_GRACE_SECONDS", 0.3), ("SILENCE_SECONDS", 3.0)):
        monkeypatch.setattr(slowfast.distributed.watchdog, name, seconds)


def ends(folder: Path, size: int, behaviour: Any) -> tuple[list[int], list[str], list[str]]:
    """Runs ``behaviour(rank, watchdog)`` in each process; gives exit codes, terminals and log files."""
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
    store = meet(PeerInfo(rank, size), address, Deadline(20), differences=lambda *_: [])
    log = folder / ("stdout.log" if rank == 0 else f"stdout_rank{rank}.log")
    with Watchdog(store, World(rank, size), timeout=10.0, log_file=log) as watchdog:
        try:
            behaviour(rank)
        except Exception as error:
            code = watchdog.fail(error)
            return -1 if code is None else code
    return 0


def all_well(rank: int) -> None:
    time.sleep(0.3 * rank)


def a_defect(rank: int) -> None:
    if rank == 1:
        raise ValueError("a defect")
    time.sleep(20)


def a_mistake_of_the_user(rank: int) -> None:
    if rank == 2:
        raise ConfigError("KEY = 1: is wrong; use 2")
    time.sleep(20)


def killed(rank: int) -> None:
    time.sleep(1.0)
    if rank == 1:
        os.kill(os.getpid(), 9)
    raise RuntimeError("gloo: Connection closed by peer")


def master_killed(rank: int) -> None:
    if rank == 0:
        time.sleep(1.0)
        os.kill(os.getpid(), 9)
    time.sleep(20)


def a_hang(rank: int) -> None:
    if rank == 0:
        time.sleep(20)
    with blocking_on("a sum over the ranks", 1.0):
        time.sleep(20)


def test_who_has_done_its_part_leaves(tmp_path: Path) -> None:
    codes, terminals, _ = ends(tmp_path, 3, all_well)
    assert codes == [0, 0, 0]
    assert terminals == ["", "", ""]


def test_an_exception_is_told_once_by_rank_0_and_ends_all(tmp_path: Path) -> None:
    begun = time.monotonic()
    codes, terminals, logs = ends(tmp_path, 3, a_defect)
    assert codes == [1, 1, 1]
    assert time.monotonic() - begun < 10
    assert terminals[1:] == ["", ""]
    assert terminals[0].startswith("rank 1 on ")
    assert terminals[0].splitlines()[1].startswith("Traceback")
    assert "ValueError: a defect" in terminals[0]
    assert "ValueError: a defect" in logs[1]
    assert all("in _process" in log for log in logs)  # the stacks


def test_a_mistake_has_no_traceback_and_keeps_its_exit_code(tmp_path: Path) -> None:
    codes, terminals, _ = ends(tmp_path, 3, a_mistake_of_the_user)
    assert codes == [2, 2, 2]
    assert "KEY = 1: is wrong; use 2" in terminals[0]
    assert "Traceback" not in terminals[0]


def test_a_killed_process_is_named_and_not_what_followed_from_it(tmp_path: Path) -> None:
    codes, terminals, _ = ends(tmp_path, 3, killed)
    assert codes == [1, -9, 1]
    assert terminals[0].startswith("rank 1 on ")
    assert "no answer. It was killed" in terminals[0]
    assert "Traceback" not in terminals[0]
    assert terminals[2] == ""


def test_the_loss_of_rank_0_is_told_by_the_others(tmp_path: Path) -> None:
    codes, terminals, _ = ends(tmp_path, 2, master_killed)
    assert codes == [-9, 1]
    assert "rank 1: rank 0, or torchrun on its machine, is gone" in terminals[1]


def test_a_hang_is_told_with_all_places_and_stacks(tmp_path: Path) -> None:
    codes, terminals, logs = ends(tmp_path, 2, a_hang)
    assert codes == [1, 1]
    assert "waited 1 s for a sum over the ranks; DIST_TIMEOUT allows 1 s" in terminals[0]
    assert "where the ranks are:\n  rank 0: " in terminals[0]
    assert all("in a_hang" in log for log in logs)


def test_what_is_waited_for_is_known_to_other_threads() -> None:
    assert current_wait() is None
    with blocking_on("the end"), blocking_on("something within it"):
        wait = current_wait()
        assert wait is not None
        assert wait.what == "the end"
        assert "waiting 0 s for the end" in main_thread_place()
    assert current_wait() is None


@pytest.fixture
def bulletin() -> StatusBoard:
    store = dist.HashStore()
    return StatusBoard(store, store, 0, 2)


def test_the_first_alarm_is_that_of_the_run(bulletin: StatusBoard) -> None:
    assert bulletin.alarm() is None
    for rank in (1, 0):
        bulletin.raise_alarm(Failure("error", rank, "text", 1))
    alarm = bulletin.alarm()
    assert alarm is not None
    assert alarm.rank == 1


def test_an_error_that_only_names_the_network_is_an_error_when_all_answer(bulletin: StatusBoard) -> None:
    text = describe(Failure("error", 0, "gloo: Connection closed", 1), bulletin, {1: "there"})
    assert text.startswith("rank 0 failed:\ngloo: Connection closed")


def test_errors_that_all_understand_stay_as_they_are(bulletin: StatusBoard) -> None:
    alarm = Failure("error", 1, str(DataError("half of the videos are broken")), 1, expected=True)
    assert describe(alarm, bulletin, {}) == "rank 1: half of the videos are broken"
