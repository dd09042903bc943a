"""Functions for the processes of :func:`slowfast.distributed.launch.launch`, in a module without torch.

Each process imports the module of its function.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType

from slowfast.errors import ConfigError
from slowfast.interrupt import Interrupt


def second_one_fails(rank: int, seconds: float) -> int:
    if rank == 1:
        raise ConfigError("KEY = 1: is wrong; take 2")
    time.sleep(seconds)
    return 0


def second_one_is_killed(rank: int) -> int:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def fails_at_length(rank: int) -> int:
    raise ConfigError("first words " + "x" * 200_000 + " last words")


def wait_for_signals(count: int, *, send_to: tuple[int, ...]) -> int:
    """Sends SIGINT to processes, and waits until as many signals have been received; returns the first."""
    received: list[int] = []
    with Interrupt() as interrupt:

        def count_signal(signum: int, frame: FrameType | None) -> None:
            handler(signum, frame)
            received.append(signum)

        handler = signal.signal(signal.SIGINT, count_signal)
        assert callable(handler)
        for process in send_to:
            os.kill(process, signal.SIGINT)
        while len(received) < count:
            time.sleep(0.02)
    return interrupt.signum


def gets_ctrl_c_of_the_parent(rank: int) -> int:
    return 128 + wait_for_signals(1, send_to=(os.getppid(),))


def gets_ctrl_c_of_a_terminal(rank: int) -> int:
    """Gets the signal twice, as all processes of a terminal's process group do."""
    return 128 + wait_for_signals(2, send_to=(os.getpid(), os.getppid()))


def does_not_stop(rank: int) -> int:
    wait_for_signals(1, send_to=(os.getppid(),))
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(200)
    return 0


def is_interrupted_early(rank: int) -> int:
    signal.raise_signal(signal.SIGINT)
    return 0


def kill_parent_and_wait(rank: int, folder: str) -> int:
    with Interrupt() as interrupt:
        Path(folder, f"{rank} is ready").touch()
        if rank == 0:
            while not Path(folder, "1 is ready").exists():
                time.sleep(0.02)
            os.kill(os.getppid(), signal.SIGKILL)
        while not interrupt.requested():
            time.sleep(0.02)
        Path(folder, f"{rank} got {interrupt.signum}").touch()
    return 0
