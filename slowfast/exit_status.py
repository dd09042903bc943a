"""How commands end: their exit status, and errors that a user can mend told by one message. No torch here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from slowfast.errors import ConfigError, SlowFastError

EXIT_ERROR = 1
EXIT_CONFIG_ERROR = 2
EXIT_INTERRUPTED = 130


def exit_status_of(error: BaseException) -> int:
    """2 for a wrong configuration, as for wrong arguments; 1 for all else."""
    return EXIT_CONFIG_ERROR if isinstance(error, ConfigError) else EXIT_ERROR


def run_command(
    program: str,
    work: Callable[[], int],
    *,
    expected: tuple[type[Exception], ...] = (SlowFastError,),
    if_interrupted: str = "interrupted",
) -> int:
    """Runs what a command does and returns its exit status; defects of ours keep their traceback.

    Args:
        program: in front of messages.
        expected: errors that are told by their message alone.
        if_interrupted: what is said after Ctrl-C.
    """
    try:
        return work()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except expected as error:
        print(f"{program}: {error}", file=sys.stderr)
        return exit_status_of(error)
    except KeyboardInterrupt:
        print(f"{program}: {if_interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
