"""The end of a process after a failure of the run: its stacks, the report of the run, and the exit."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from slowfast.distributed.blocking import main_thread_location
from slowfast.distributed.deadline import Deadline
from slowfast.distributed.failure import Failure, StatusBoard, describe_end, names_network
from slowfast.distributed.world import World
from slowfast.exit_status import EXIT_ERROR
from slowfast.log import log_to_file, printable

# Seconds for the other ranks to store their location, and for the main thread to end by itself.
_ANSWER_SECONDS, _GRACE_SECONDS = 4.0, 2.0
# Seconds for the other ranks to read that the failure is printed: two of their heartbeats.
_READ_SECONDS = 2.0
# Seconds for what is called before the end, such as the last messages to a tracker's server.
_CLOSE_SECONDS = 5.0


class Shutdown:
    """The end of one process of a run, by a thread other than the main one.

    Args:
        board: status of all processes of the run.
        log_file: receives the stacks; None: stderr does.

    Attributes:
        error_location: where this process met an error; empty: the location of its main thread is reported.
        closing: called before the end of a process whose main thread is blocked.
    """

    def __init__(self, board: StatusBoard, world: World, log_file: Path | None) -> None:
        self._board = board
        self._world = world
        self._log_file = log_file
        self.error_location = ""
        self.closing: list[Callable[[], None]] = []
        self._printed = threading.Event()
        self._ending_alone = threading.Lock()

    def wait_until_printed(self) -> bool:
        """Lets the main thread wait until the failure is printed; returns whether it is."""
        return self._printed.wait(3 * _ANSWER_SECONDS)

    def end_together(self, failure: Failure) -> None:
        """Writes stacks and location, sees that the failure is printed once, and ends this process."""
        last_line = failure.text.rstrip().splitlines()[-1]
        self._write_stacks(f"the run ends: failure of {self._board.name(failure.rank)}: {last_line}")
        self._board.set_location(self.error_location or main_thread_location())
        if self._world.is_main and self._board.count("printers", 1) == 1:
            self._print_failure(failure)
        else:
            self._wait_until_printed(failure)
        self._printed.set()
        self.exit(failure.exit_code)

    def _wait_until_printed(self, failure: Failure) -> None:
        """Waits until the failure is printed; prints it where rank 0 does not."""
        if not self._sees_it_printed():
            if self._board.count("printers", 1) == 1:
                self._print_failure(failure)
                return
            self._sees_it_printed()
        self._board.count("acknowledged", 1)

    def _sees_it_printed(self) -> bool:
        return any(self._board.count("printed") for _ in Deadline(_ANSWER_SECONDS + 2.0).polls())

    def _print_failure(self, failure: Failure) -> None:
        locations: dict[int, str] = {}
        for _ in Deadline(_ANSWER_SECONDS).polls():
            locations = self._board.locations()
            if len(locations) == self._world.size:
                break
        self._print(describe_end(failure, self._board, locations))
        self._board.count("printed", 1)
        # The store may end with this process: wait until the others have read that the failure is printed.
        for _ in Deadline(_READ_SECONDS).polls():
            if self._board.count("acknowledged") >= len(locations) - 1:
                break

    def end_alone(self, text: str, own: Failure | None) -> None:
        """Ends this process where the others cannot be reached.

        Args:
            text: the loss of the others.
            own: the failure that this process wanted to report; None without one.
        """
        if not self._ending_alone.acquire(blocking=False):
            return  # the other thread does it already
        # A hang or an error of the network is the consequence of the loss, not its cause.
        if own is not None and (own.kind == "hang" or names_network(own.text)):
            own = own if own.expected else None
        self._write_stacks("the run ends")
        self._print(f"rank {self._world.rank}: {text if own is None else own.text}")
        self._printed.set()
        self.exit(EXIT_ERROR if own is None else own.exit_code)

    def _print(self, text: str) -> None:
        log_to_file(text)
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone; the process must end
            print(printable(text), file=sys.stderr, flush=True)

    def exit(self, exit_code: int) -> None:
        """Ends the process, unless its main thread ends it first, which may be blocked for ever."""
        time.sleep(_GRACE_SECONDS)
        # In a thread of its own, since a server that does not answer must not keep the process.
        closing = threading.Thread(target=self._close, name="closing", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(exit_code)

    def _close(self) -> None:
        for close in self.closing:
            close()

    def _write_stacks(self, heading: str) -> None:
        location = self.error_location or main_thread_location()
        log_to_file(f"{heading}; location of this process: {location}; its threads:")
        with contextlib.suppress(OSError, ValueError):
            if self._log_file is None:
                sys.stderr.write(_stacks())
                return
            with self._log_file.open("a", encoding="utf-8") as file:
                file.write(_stacks())


def _stacks() -> str:
    """Returns the stacks of all threads, without lines of source files, whose disk may not answer.

    ``faulthandler`` does not stop the other threads while it reads their frames, and can crash by that.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for number, innermost in sys._current_frames().items():
        lines.append(f"\nThread {names.get(number, number)} (most recent call first):\n")
        for frame, line in traceback.walk_stack(innermost):
            lines.append(f'  File "{frame.f_code.co_filename}", line {line} in {frame.f_code.co_name}\n')
    return "".join(lines)
