"""A watchdog that ends all processes of a run together: after an error anywhere, a hang, or a lost process.

Each process has two threads beside its main thread. The *heartbeat thread* writes the heartbeats of this
process into the common store and reads the failure of the run from it; a broken network may block it. The
*timeout thread* never uses the network: it notices that the main thread waits too long for other ranks, or
that the heartbeat thread is blocked.

On a failure each process appends the stacks of all its threads to its log file and stores its code location.
Rank 0, or the first rank that notices where rank 0 is gone, prints the failure once; then all processes end
(:mod:`slowfast.distributed.shutdown`). ``README.md`` in this folder explains what torchrun,
``monitored_barrier`` and the NCCL flight recorder lack.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from slowfast.distributed.blocking import current_blocking_call, error_location
from slowfast.distributed.deadline import Deadline
from slowfast.distributed.failure import RESUME_HINT, Failure, StatusBoard, names_network
from slowfast.distributed.shutdown import Shutdown
from slowfast.distributed.world import World
from slowfast.errors import SlowFastError, describe_error, first_line
from slowfast.exit_status import EXIT_ERROR, EXIT_INTERRUPTED, exit_status_of
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger, log_to_file

logger = get_logger(__name__)

# Seconds between two heartbeats, and between two checks of the timeout thread.
_HEARTBEAT_SECONDS, _CHECK_SECONDS = 1.0, 0.5
# Seconds without a heartbeat after which a process counts as lost, unless DIST_TIMEOUT is shorter.
SILENCE_SECONDS = 120.0
# Seconds for which a failed collective waits for the report of the process that caused it.
_CAUSE_SECONDS = 3.0
# Seconds for which rank 0 waits for the others: after its own work is done, and after a stop.
_LEAVE_SECONDS, _STOP_SECONDS = 60.0, 60.0


class Watchdog:
    """Monitor of one process of a run; used as a context manager by the main thread.

    Args:
        store: of the rendezvous.
        timeout: seconds that the main thread may wait for other ranks.
        log_file: receives the stacks; None: stderr does.
        interrupt: request to stop, which any process passes on to all.
    """

    def __init__(
        self,
        store: dist.Store,
        world: World,
        *,
        timeout: float,
        log_file: Path | None,
        interrupt: Interrupt,
    ) -> None:
        self.store = store
        self._board = StatusBoard(store, world.rank, world.size)
        self._world = world
        self._timeout = timeout
        self._silence = min(timeout, SILENCE_SECONDS)
        self._shutdown = Shutdown(self._board, world, log_file)
        self._interrupt = interrupt
        self._own_failure: Failure | None = None
        self._failure: Failure | None = None
        self._wake = threading.Event()
        self._leaving = threading.Event()
        self._last_exchange = time.monotonic()
        # Rank -> (its heartbeats, time at which that number was first seen), on rank 0.
        self._beats: dict[int, tuple[int, float]] = {}
        self._heartbeat_thread = threading.Thread(
            target=self._run_heartbeats, name="watchdog heartbeat", daemon=True
        )
        self._timeout_thread = threading.Thread(
            target=self._run_timeouts, name="watchdog timeout", daemon=True
        )

    def __enter__(self) -> Watchdog:
        self._heartbeat_thread.start()
        self._timeout_thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leaves the run; rank 0, whose process may hold the store, waits until the others have left."""
        if self._failure is None or self._failure.kind == "stop":
            self._leaving.set()
            self._wake.set()
            self._heartbeat_thread.join(_LEAVE_SECONDS + self._silence)

    def call_before_exit(self, close: Callable[[], None]) -> None:
        """Lets ``close`` be called, in another thread, where the watchdog ends a blocked process."""
        self._shutdown.closing.append(close)

    def fail(self, error: BaseException) -> int | None:
        """Ends the run because of ``error``.

        Returns:
            The exit code where the failure was printed; None where the caller must report the error.
        """
        expected, text, code = isinstance(error, SlowFastError), describe_error(error), exit_status_of(error)
        if isinstance(error, KeyboardInterrupt):
            expected, text, code = True, "interrupted", EXIT_INTERRUPTED
        self._shutdown.error_location = error_location(error)
        log_to_file(text)

        # A failed collective is often the consequence of a failure elsewhere, which arrives a moment later.
        is_consequence = not expected and _may_be_consequence(error)
        if is_consequence:
            self._wait_for_failure(_CAUSE_SECONDS)

        # After a stop the other processes have left in order, and collectives fail for that reason.
        if self._failure is not None and self._failure.kind == "stop":
            return self._failure.exit_code if is_consequence else None

        # Report it. Of several failures the first in the store is that of the run.
        self._report(Failure("error", self._world.rank, text, code, expected))
        printed = self._shutdown.wait_until_printed()
        return self._failure.exit_code if printed and self._failure is not None else None

    def stop(self, signum: int) -> None:
        """Broadcasts that this process was stopped by ``signum``."""
        self._interrupt.request(signum)
        self._report(Failure("stop", self._world.rank, signal.Signals(signum).name, 128 + signum))
        self._wait_for_failure(2 * _HEARTBEAT_SECONDS)

    def _report(self, failure: Failure) -> None:
        self._own_failure = self._own_failure or failure
        self._wake.set()

    def _wait_for_failure(self, seconds: float) -> None:
        for _ in Deadline(seconds).polls():
            if self._failure is not None:
                return

    # ------------------------------------------------------------------------ heartbeat thread

    def _run_heartbeats(self) -> None:
        try:
            while not self._leaving.is_set():
                if self._exchange():
                    return
                self._wake.wait(_HEARTBEAT_SECONDS)
                self._wake.clear()
            self._leave()
        except RuntimeError as error:  # raised by torch where the store is gone
            # A process that was asked to stop saves and leaves; a signal to all has ended torchrun at once.
            if not (self._leaving.is_set() or self._interrupt.requested()):
                lost = f"rank 0, or torchrun on its node, is gone ({first_line(error)}); {RESUME_HINT}"
                text = self._failure.text if self._failure is not None else lost
                self._shutdown.end_alone(text, self._own_failure)

    def _exchange(self) -> bool:
        """Writes a heartbeat and reads the failure of the run; returns whether the run is over."""
        self._board.beat()
        self._share_stop()
        if self._own_failure is not None and self._failure is None:
            self._board.report(self._own_failure)
        if self._failure is None and (failure := self._board.failure()) is not None:
            self._failure = failure
            if failure.kind != "stop":
                self._shutdown.end_together(failure)
                return True
        if self._world.is_main and self._failure is None:
            self._check_heartbeats()
        self._last_exchange = time.monotonic()
        return False

    def _share_stop(self) -> None:
        """Passes a request to stop on to the other processes, or takes over that of another."""
        if self._interrupt.requested():
            self._board.request_stop(self._interrupt.signum)
        elif signum := self._board.requested_stop():
            self._interrupt.request(signum)

    def _check_heartbeats(self) -> None:
        """Reports, on rank 0, a rank without heartbeats for too long."""
        now = time.monotonic()
        for rank, beats in enumerate(self._board.beats()):
            if self._beats.get(rank, (None, 0.0))[0] != beats:
                self._beats[rank] = (beats, now)
            silent = now - self._beats[rank][1]
            if beats >= 0 and silent > self._silence:
                text = (
                    f"{self._board.name(rank)} sent no heartbeat for {silent:.0f} s: its node or network is "
                    f"gone, or the process was suspended; {RESUME_HINT}"
                )
                self._report(Failure("silence", self._world.rank, text, EXIT_ERROR, expected=True))

    def _leave(self) -> None:
        """Marks this process as finished; rank 0 then waits for the others and still reacts to failures."""
        self._exchange()
        self._board.leave()
        for _ in Deadline(_LEAVE_SECONDS).polls():
            if not self._world.is_main or max(self._board.beats()) < 0 or self._exchange():
                return

    # -------------------------------------------------------------------------- timeout thread

    def _run_timeouts(self) -> None:
        before = time.monotonic()
        while not self._leaving.wait(_CHECK_SECONDS):
            now = time.monotonic()
            if now - before > 10 * _CHECK_SECONDS:
                # This whole process was suspended, so that the silence is not the fault of rank 0.
                self._last_exchange = now
            before = now
            silent = now - self._last_exchange
            if silent > self._silence + _HEARTBEAT_SECONDS:
                text = (
                    f"rank 0 did not answer for {silent:.0f} s: its node or network is gone, or its process "
                    f"was suspended; {RESUME_HINT}"
                )
                self._shutdown.end_alone(text, self._own_failure)
            self._check_main_thread(now)

    def _check_main_thread(self, now: float) -> None:
        """Reports a hang where the main thread has waited for other ranks longer than it may."""
        call = current_blocking_call()
        if call is None:
            return
        limit = self._timeout if call.limit is None else call.limit
        waited = now - call.since
        stopped = self._failure is not None and self._failure.kind == "stop"
        if stopped and waited > min(limit, _STOP_SECONDS):
            self._shutdown.exit(self._failure.exit_code if self._failure else EXIT_ERROR)
        elif waited > limit and self._failure is None:
            text = f"waited {waited:.0f} s for {call.what}; {call.key} allows {limit:g} s"
            self._report(Failure("hang", self._world.rank, text, EXIT_ERROR))


def _may_be_consequence(error: BaseException) -> bool:
    """Returns whether the end of another process may have caused ``error``."""
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and names_network(str(error)))
