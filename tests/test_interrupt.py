"""Signals that ask a run to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from slowfast.interrupt import Interrupt, stop_when_parent_ends
from tests.support.processes import run_forked


def test_the_first_signal_counts() -> None:
    """SLURM sends SIGTERM where saving after SIGUSR1 takes long; the exit status is that of SIGUSR1."""
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
    assert interrupt.signum == signal.SIGUSR1


@pytest.mark.parametrize(
    ("signum", "answer"),
    [(signal.SIGINT, "stops soon; Ctrl-C again stops at once\n"), (signal.SIGTERM, "stops soon (SIGTERM)\n")],
)
def test_the_first_signal_is_answered(
    signum: signal.Signals, answer: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A video of hours was finished first, for minutes without a word."""
    with Interrupt("stops soon"):
        signal.raise_signal(signum)
        signal.raise_signal(signal.SIGUSR1)
    assert capfd.readouterr().err == answer


def test_a_second_ctrl_c_ends_at_once() -> None:
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert interrupt.signum == signal.SIGINT


def test_ctrl_c_from_srun_and_from_torchrun_is_one_request(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`srun torchrun …` signals every process, and torchrun forwards the signal to its own."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with Interrupt("stops soon") as interrupt:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert interrupt.signum == signal.SIGINT
    assert capfd.readouterr().err == "stops soon\n", "a second Ctrl-C does not stop it at once"


def start_and_die(folder: Path) -> None:
    """Starts a process as torchrun does, and is killed once that waits for its end."""
    multiprocessing.parent_process = lambda: None  # type: ignore[assignment]
    os.environ["TORCHELASTIC_RUN_ID"] = "none"
    if os.fork() == 0:
        with Interrupt() as interrupt:
            stop_when_parent_ends()
            (folder / "waits").touch()
            while not interrupt.requested():
                time.sleep(0.02)
            (folder / f"got {interrupt.signum}").touch()
        os._exit(0)
    while not (folder / "waits").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_whose_torchrun_was_killed_is_asked_to_stop(tmp_path: Path) -> None:
    """A single one would train on unseen, and keep the next start out of the folder."""
    assert run_forked(start_and_die, tmp_path) == -signal.SIGKILL
    while not (tmp_path / f"got {signal.SIGTERM.value}").exists():
        time.sleep(0.02)
