"""Start and end of the processes of one node."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import slowfast.distributed.launch
from slowfast.distributed.launch import launch
from tests.support.cluster.launched import (
    does_not_stop,
    fails_at_length,
    gets_ctrl_c_of_a_terminal,
    gets_ctrl_c_of_the_parent,
    is_interrupted_early,
    kill_parent_and_wait,
    second_one_fails,
    second_one_is_killed,
)
from tests.support.processes import run_forked


def test_the_error_of_one_process_is_printed_and_the_others_are_ended(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowfast.distributed.launch, "GRACE_SECONDS", 1.0)
    begun = time.monotonic()
    assert launch(second_one_fails, 2, (100.0,)) == 2
    assert time.monotonic() - begun < 60
    assert "KEY = 1: is wrong; take 2" in capfd.readouterr().err


def test_a_killed_process_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(second_one_is_killed, 2, ()) == 137
    assert "processes of this node were ended: 1 by SIGKILL" in capfd.readouterr().err


def test_the_exit_code_is_zero_where_all_processes_return_zero() -> None:
    assert launch(abs, 1, ()) == 0


def test_a_long_error_does_not_fill_the_pipe_to_the_parent(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(fails_at_length, 1, ()) != 0
    printed = capfd.readouterr().err
    assert "first words" in printed
    assert "last words" in printed
    assert len(printed) < 20_000


@pytest.mark.parametrize("function", [gets_ctrl_c_of_the_parent, gets_ctrl_c_of_a_terminal])
def test_ctrl_c_asks_a_process_to_stop_whether_it_gets_it_or_only_its_parent(
    function: Callable[[int], int],
) -> None:
    assert launch(function, 1, ()) == 130


def test_a_second_ctrl_c_ends_all_processes() -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        launch(does_not_stop, 1, ())
    assert set(multiprocessing.active_children()) <= others


def test_ctrl_c_before_a_process_can_save_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(is_interrupted_early, 1, ()) == 130
    assert "Traceback" not in capfd.readouterr().err


def test_processes_whose_parent_was_killed_are_asked_to_stop(tmp_path: Path) -> None:
    """They would train on, hold the lock of the folder, and keep the next start out."""
    assert run_forked(launch, kill_parent_and_wait, 2, (str(tmp_path),)) == -signal.SIGKILL
    wanted = [tmp_path / f"{rank} got {signal.SIGTERM.value}" for rank in range(2)]
    while not all(path.exists() for path in wanted):
        time.sleep(0.02)
