"""Start and end of the processes of one node."""

from __future__ import annotations

import os
import signal
import time

import pytest

import slowfast.distributed.launch
from slowfast.distributed.launch import launch
from slowfast.errors import ConfigError


def second_one_fails(rank: int, seconds: float) -> int:
    if rank == 1:
        raise ConfigError("KEY = 1: is wrong; take 2")
    time.sleep(seconds)
    return 0


def test_the_error_of_one_process_is_printed_and_the_others_are_ended(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowfast.distributed.launch, "GRACE_SECONDS", 1.0)
    begun = time.monotonic()
    assert launch(second_one_fails, 2, (100.0,)) == 2
    assert time.monotonic() - begun < 60
    assert "KEY = 1: is wrong; take 2" in capfd.readouterr().err


def second_one_is_killed(rank: int) -> int:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_a_killed_process_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(second_one_is_killed, 2, ()) == 137
    assert "processes of this node were ended: 1 by SIGKILL" in capfd.readouterr().err


def test_the_exit_code_is_zero_where_all_processes_return_zero() -> None:
    assert launch(abs, 1, ()) == 0


def fails_at_length(rank: int) -> int:
    raise ConfigError("first words " + "x" * 200_000 + " last words")


def test_a_long_error_does_not_fill_the_pipe_to_the_parent(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(fails_at_length, 1, ()) != 0
    printed = capfd.readouterr().err
    assert "first words" in printed
    assert "last words" in printed
    assert len(printed) < 20_000
