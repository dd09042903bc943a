"""Exit status of commands, and errors of users printed as one message. This module imports no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from slowfast.errors import ConfigError, SlowFastError

EXIT_ERROR = 1
EXIT_CONFIG_ERROR = 2
EXIT_INTERRUPTED = 130


def exit_status_of(error: BaseException) -> int:
    """Returns 2 for a wrong configuration, as for wrong arguments, and 1 for any other error."""
    return EXIT_CONFIG_ERROR if isinstance(error, ConfigError) else EXIT_ERROR


def run_command(
    program: str,
    work: Callable[[], int],
    *,
    expected: tuple[type[Exception], ...] = (SlowFastError,),
    if_interrupted: str = "interrupted",
) -> int:
    """Runs the work of a command and returns its exit status; an unexpected error keeps its traceback.

    Args:
        program: the command's name, at the start of messages.
        work: does the work and returns the exit status.
        expected: errors that are printed as a message only.
        if_interrupted: the message after Ctrl-C.
    """
    try:
        return work()
    except BrokenPipeError:  # the reader of stdout, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except expected as error:
        print(f"{program}: {error}", file=sys.stderr)
        return exit_status_of(error)
    except KeyboardInterrupt:
        print(f"{program}: {if_interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
