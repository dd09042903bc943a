"""Commands of VTN, run in the process of the test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from vtn.cli import predict


def exit_status(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Returns the exit status of a command as a shell gets it, also where argparse exits."""
    try:
        return main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def predict_on_cpu(arguments: list[str]) -> int:
    """Returns the exit status of ``vtn predict`` on the CPU."""
    return exit_status(predict.main, [*arguments, "--device=cpu"])


@contextmanager
def ctrl_c_at(owner: type, name: str, *, when: Callable[[], object] = lambda: True) -> Iterator[None]:
    """Presses Ctrl-C before the calls of a method while the block runs, where a condition holds."""
    method = getattr(owner, name)

    def press(*arguments: Any) -> Any:
        if when():
            signal.raise_signal(signal.SIGINT)
        return method(*arguments)

    with patch.object(owner, name, press):
        yield
