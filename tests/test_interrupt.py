"""Signals that ask a run to stop."""

from __future__ import annotations

import signal

import pytest

from slowfast.interrupt import Interrupt


def test_the_first_signal_counts() -> None:
    """SLURM sends SIGTERM where saving after SIGUSR1 takes long; the exit status is that of SIGUSR1."""
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
    assert interrupt.signum == signal.SIGUSR1


def test_the_first_signal_is_answered(capfd: pytest.CaptureFixture[str]) -> None:
    """A video of hours was finished first, for minutes without a word."""
    with Interrupt("stops soon; Ctrl-C again stops at once"):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == "stops soon; Ctrl-C again stops at once\n"


def test_a_second_ctrl_c_ends_at_once() -> None:
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert interrupt.signum == signal.SIGINT


def test_ctrl_c_from_srun_and_from_torchrun_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """`srun torchrun …` signals every process, and torchrun forwards the signal to its own."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert interrupt.signum == signal.SIGINT
