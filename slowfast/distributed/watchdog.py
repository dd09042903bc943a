"""Ends a run of several processes together: after an error anywhere, a hang, or the loss of a process.

Each process has two threads beside its work. The *messenger* shows the others that this process lives, and
looks whether one of them raised the alarm; it may be held up by the network. The *guard* never waits for
anybody: it sees when the main thread waits too long for the others, or the messenger for the network.

On an alarm each process writes the stacks of all its threads into its log file and says where it is; rank 0,
or where it is gone the first that notices, tells people once; then all end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch.distributed as dist

from slowfast.distributed.blocking import current_wait, error_place, main_thread_place
from slowfast.distributed.failure import GO_ON, Failure, StatusBoard, describe, names_network
from slowfast.distributed.world import World
from slowfast.errors import SlowFastError, describe_error
from slowfast.exit_status import EXIT_ERROR, EXIT_INTERRUPTED, exit_status_of
from slowfast.log import get_logger, log_to_file

logger = get_logger(__name__)

# Seconds between two looks of the messenger and of the guard.
_MESSENGER_LOOK, _GUARD_LOOK = 1.0, 0.5
# Seconds without a sign of life after which a process counts as lost, unless DIST_TIMEOUT is shorter.
SILENCE_SECONDS = 120.0
# Seconds that a failed collective waits for the words of the process that caused it.
_CAUSE_SECONDS = 3.0
# Seconds in which the others say where they are, and in which the main thread may end by itself.
_ANSWER_SECONDS, _GRACE_SECONDS = 4.0, 2.0
# Seconds for which rank 0 stays for the others, after its own part is done and after a stop.
_FAREWELL_SECONDS, _STOP_SECONDS = 60.0, 60.0


class Watchdog:
    """Watches over this process's part of a run; used as a context manager by the main thread.

    Args:
        store: at which the processes met.
        timeout: seconds that the main thread may wait for the others.
        log_file: gets the stacks; None: stderr does.
        on_stop: called with the signal when another process was asked to stop.
    """

    def __init__(
        self,
        store: dist.Store,
        world: World,
        *,
        timeout: float,
        log_file: Path | None,
        on_stop: Callable[[int], None] = lambda signum: None,
    ) -> None:
        self.store = store
        self._bulletin = StatusBoard.of(store, world.rank, world.size)
        self._world = world
        self._timeout = timeout
        self._silence = min(timeout, SILENCE_SECONDS)
        self._log_file = log_file
        self._on_stop = on_stop
        self._own: Failure | None = None
        self._alarm: Failure | None = None
        self._error_place = ""
        self._told = threading.Event()
        self._alone = threading.Lock()
        self._wake = threading.Event()
        self._leaving = threading.Event()
        self._lives = time.monotonic()
        self._beats: dict[int, tuple[int, float]] = {}
        self._messenger = threading.Thread(target=self._run_messenger, name="watchdog messenger", daemon=True)
        self._guard = threading.Thread(target=self._run_guard, name="watchdog guard", daemon=True)

    def __enter__(self) -> Watchdog:
        self._messenger.start()
        self._guard.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leaves the run; rank 0, where the store may live, stays until the others have left."""
        if self._alarm is None or self._alarm.kind == "stop":
            self._leaving.set()
            self._wake.set()
            self._messenger.join(_FAREWELL_SECONDS + self._silence)

    def fail(self, error: BaseException) -> int | None:
        """Ends the run because of ``error``; returns the exit code once people know, None if they do not."""
        expected, text, code = isinstance(error, SlowFastError), describe_error(error), exit_status_of(error)
        if isinstance(error, KeyboardInterrupt):
            expected, text, code = True, "interrupted", EXIT_INTERRUPTED
        self._error_place = error_place(error)
        log_to_file(text)
        follows = not expected and _is_consequence(error)
        if follows:
            self._wait_for_alarm(_CAUSE_SECONDS)
        if self._alarm is not None and self._alarm.kind == "stop":
            return self._alarm.exit_code if follows else None  # the others have left already
        self._raise(Failure("error", self._world.rank, text, code, expected))
        told = self._told.wait(3 * _ANSWER_SECONDS)
        return self._alarm.exit_code if told and self._alarm is not None else None

    def stop(self, signum: int) -> None:
        """Tells the others that this process was stopped by ``signum``."""
        self._raise(Failure("stop", self._world.rank, signal.Signals(signum).name, 128 + signum))
        self._wait_for_alarm(2 * _MESSENGER_LOOK)

    def _raise(self, alarm: Failure) -> None:
        self._own = self._own or alarm
        self._wake.set()

    def _wait_for_alarm(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._alarm is None and time.monotonic() < end:
            time.sleep(0.05)

    # ------------------------------------------------------------------------------- messenger

    def _run_messenger(self) -> None:
        try:
            while not self._leaving.is_set():
                if self._exchange():
                    return
                self._wake.wait(_MESSENGER_LOOK)
                self._wake.clear()
            self._say_goodbye()
        except RuntimeError as error:  # torch's own, of a store that is gone
            if not self._leaving.is_set():
                lost = f"rank 0, or torchrun on its machine, is gone ({_first_line(error)}); {GO_ON}"
                self._tell_alone(self._alarm.text if self._alarm is not None else lost)

    def _exchange(self) -> bool:
        """One turn; returns whether the run is over."""
        self._bulletin.beat()
        if self._own is not None and self._alarm is None:
            self._bulletin.raise_alarm(self._own)
        if self._alarm is None and (alarm := self._bulletin.alarm()) is not None:
            self._alarm = alarm
            if alarm.kind != "stop":
                self._respond(alarm)
                return True
            if alarm.rank != self._world.rank:
                self._on_stop(alarm.exit_code - 128)
        if self._world.is_main and self._alarm is None:
            self._listen()
        self._lives = time.monotonic()
        return False

    def _listen(self) -> None:
        """Rank 0 raises the alarm when another rank is silent for too long."""
        now = time.monotonic()
        for rank, beats in enumerate(self._bulletin.beats()):
            if self._beats.get(rank, (None, 0.0))[0] != beats:
                self._beats[rank] = (beats, now)
            silent = now - self._beats[rank][1]
            if beats >= 0 and silent > self._silence:
                text = (
                    f"{self._bulletin.name(rank)} has not been heard for {silent:.0f} s: its machine or "
                    f"network is gone, or it was stopped; {GO_ON}"
                )
                self._raise(Failure("silence", self._world.rank, text, EXIT_ERROR, expected=True))

    def _say_goodbye(self) -> None:
        self._exchange()
        self._bulletin.leave()
        end = time.monotonic() + _FAREWELL_SECONDS
        while self._world.is_main and not self._bulletin.all_left() and time.monotonic() < end:
            if self._exchange():
                return
            time.sleep(0.1)

    # --------------------------------------------------------------------------------- the end

    def _respond(self, alarm: Failure) -> None:
        """Does this process's part of an alarm, and ends it."""
        last_line = alarm.text.rstrip().splitlines()[-1]
        self._write_stacks(f"the run ends: alarm of {self._bulletin.name(alarm.rank)}: {last_line}")
        self._bulletin.tell_place(self._error_place or main_thread_place())
        if self._world.is_main and self._bulletin.claim_telling():
            self._tell(alarm)
        else:
            self._see_it_told(alarm)
        self._told.set()
        self._end(alarm.exit_code)

    def _see_it_told(self, alarm: Failure) -> None:
        """Waits until people are told, and tells them where rank 0 does not."""
        if not self._is_told(_ANSWER_SECONDS + 2.0):
            if self._bulletin.claim_telling():
                self._tell(alarm)
                return
            self._is_told(_ANSWER_SECONDS + 2.0)
        self._bulletin.count_seen(1)

    def _is_told(self, seconds: float) -> bool:
        return any(self._bulletin.told() for _ in _looks(seconds))

    def _tell(self, alarm: Failure) -> None:
        places: dict[int, str] = {}
        for _ in _looks(_ANSWER_SECONDS):
            places = self._bulletin.places()
            if len(places) == self._world.size:
                break
        self._print(describe(alarm, self._bulletin, places))
        self._bulletin.set_told()
        for _ in _looks(2 * _MESSENGER_LOOK):  # the store may end with this process
            if self._bulletin.count_seen() >= len(places) - 1:
                break

    def _tell_alone(self, text: str) -> None:
        """Ends this process where the others cannot be reached."""
        if not self._alone.acquire(blocking=False):
            return  # the other thread is at it
        alarm = self._own
        if alarm is not None and not alarm.expected and (alarm.kind == "hang" or names_network(alarm.text)):
            alarm = None  # it only follows from the loss
        self._write_stacks("the run ends")
        self._print(f"rank {self._world.rank}: {text if alarm is None else alarm.text}")
        self._told.set()
        self._end(EXIT_ERROR if alarm is None else alarm.exit_code)

    def _print(self, text: str) -> None:
        log_to_file(text)
        print(text, file=sys.stderr, flush=True)

    def _end(self, exit_code: int) -> None:
        """Ends the process unless its main thread does, which may wait for the others for ever."""
        time.sleep(_GRACE_SECONDS)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(exit_code)

    def _write_stacks(self, heading: str) -> None:
        log_to_file(f"{heading}; this process is {self._error_place or main_thread_place()}; its threads:")
        if self._log_file is None:
            faulthandler.dump_traceback(sys.stderr)
            return
        with contextlib.suppress(OSError), self._log_file.open("a", encoding="utf-8") as file:
            faulthandler.dump_traceback(file)

    # ----------------------------------------------------------------------------------- guard

    def _run_guard(self) -> None:
        before = time.monotonic()
        while not self._leaving.wait(_GUARD_LOOK):
            now = time.monotonic()
            if now - before > 10 * _GUARD_LOOK:  # the whole process slept; nobody else is to blame
                self._lives = now
            before = now
            if now - self._lives > self._silence + _MESSENGER_LOOK:
                self._tell_alone(
                    f"rank 0 has not been heard for {now - self._lives:.0f} s: its machine or the network to "
                    f"it is gone, or it was stopped; {GO_ON}"
                )
            self._look_at_main_thread(now)

    def _look_at_main_thread(self, now: float) -> None:
        wait = current_wait()
        if wait is None:
            return
        limit = self._timeout if wait.limit is None else wait.limit
        stopped = self._alarm is not None and self._alarm.kind == "stop"
        if stopped and now - wait.since > min(limit, _STOP_SECONDS):
            self._end(self._alarm.exit_code if self._alarm else EXIT_ERROR)
        elif now - wait.since > limit and self._alarm is None:
            text = f"waited {now - wait.since:.0f} s for {wait.what}; {wait.key} allows {limit:g} s"
            self._raise(Failure("hang", self._world.rank, text, EXIT_ERROR))


def _is_consequence(error: BaseException) -> bool:
    """Whether another process's end may be what ``error`` is about."""
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and names_network(str(error)))


def _looks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.1)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
