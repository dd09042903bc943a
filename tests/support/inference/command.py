"""Commands of VTN, run in the process of the test."""

from __future__ import annotations

from collections.abc import Callable

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
