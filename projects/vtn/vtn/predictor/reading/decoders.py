"""Processes that decode videos for this one, so that one that hangs or crashes costs one video alone."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from slowfast.datasets.loading.worker_process import check_start, prepare_process, worker_context
from slowfast.interrupt import exit_when_parent_ends, sparing_new_processes
from slowfast.video.placement import Placement
from vtn.predictor.scoring import FAILURES
from vtn.predictor.videos import VideoSource

# Seconds to wait for a killed process; one that is blocked on a dead disk is left behind.
_JOIN_SECONDS = 5.0
# Longest wait whose duration counts: the whole command may have been suspended meanwhile.
_POLL_SECONDS = 0.5
# Seconds within which a video must be closed before the process gets another one.
_CLOSE_SECONDS = 5.0
# Seconds for the start of a process that is forked, in milliseconds unless another thread held a lock that it
# needs, and of one that imports torch and the user's script.
_FORK_SECONDS, _START_SECONDS = 10.0, 120.0


class Decoder:
    """A process that decodes videos one after another."""

    def __init__(self) -> None:
        context = worker_context()
        self.connection, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end,), name="decoder", daemon=True)
        with sparing_new_processes(context):
            self._process.start()
        end.close()
        self._ready_seconds = _FORK_SECONDS if context.get_start_method() == "fork" else _START_SECONDS

    def wait(self, seconds: float) -> float:
        """Returns how long the process took to answer; at least ``seconds`` where it has not answered.

        Raises:
            EOFError: where it has ended.
        """
        waited = 0.0
        while waited < seconds:
            before = time.monotonic()
            has_answered = self.connection.poll(min(_POLL_SECONDS, seconds - waited))
            waited += min(time.monotonic() - before, _POLL_SECONDS)
            if has_answered:
                break
            # Another forked process may hold the other end of the pipe of one that has crashed.
            if not (self._process.is_alive() or self.connection.poll()):
                raise EOFError
        return waited

    def is_ready(self) -> bool:
        """Returns whether the process has started, or closed its last video, and else ends it.

        Raises:
            UsageError: see :func:`slowfast.datasets.loading.worker_process.check_start`.
        """
        seconds, self._ready_seconds = self._ready_seconds, _CLOSE_SECONDS
        with suppress(EOFError, ConnectionError):
            if self.wait(seconds) < seconds and isinstance(self.connection.recv(), End):
                return True
        self.kill()
        check_start(self._process.exitcode)
        return False

    def kill(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join(_JOIN_SECONDS)


class Decoders:
    """The decoders of many videos, for any number of threads.

    Args:
        count: decoders that start now. One that is forked later, beside busy threads, may hang in its start.
    """

    def __init__(self, count: int) -> None:
        self._running = {Decoder() for _ in range(count)}
        self._idle = [*self._running]
        self._is_closed = False

    def take(self) -> Decoder:
        """Returns a decoder without a video; one that has ended where none starts.

        Raises:
            OSError: after the end.
        """
        with suppress(IndexError):  # none is left
            while True:
                if (decoder := self._idle.pop()).is_ready():
                    return decoder
                self.end(decoder)
        if self._is_closed:
            raise OSError("the decoders have been ended")
        decoder = Decoder()
        self._running.add(decoder)
        if not decoder.is_ready() or self._is_closed:
            self.end(decoder)
        return decoder

    def give_back(self, decoder: Decoder) -> None:
        """Ends the video of a decoder, and keeps it for the next one."""
        try:
            decoder.connection.send(None)
        except OSError:  # it has crashed meanwhile
            self.end(decoder)
        else:
            self._idle.append(decoder)

    def end(self, decoder: Decoder) -> None:
        """Ends a decoder with its video."""
        decoder.kill()
        self._running.discard(decoder)

    def close(self) -> None:
        """Ends all decoders, also those that other threads wait for."""
        self._is_closed = True
        for decoder in [*self._running]:
            decoder.kill()


@dataclass(frozen=True)
class Size:
    """A question for the placement of frames of this size, in pixels."""

    height: int
    width: int


class End:
    """The end of the frames that were asked for, of a video, or of the start of a process."""


def _serve(connection: Connection) -> None:
    """Opens the videos that the other process names, one after another, until that has ended."""
    prepare_process()
    exit_when_parent_ends()  # also while the decoder hangs
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send(End())
            _serve_video(connection, *connection.recv())


def _serve_video(connection: Connection, source: VideoSource, threads: int) -> None:
    """Reads what the other process asks for, until that closes the video."""
    try:
        with source.open(threads) as video:
            connection.send(video.times)
            while (request := connection.recv()) is not None:
                _answer(connection, video, *request)
    except FAILURES as error:
        connection.send(error)
        connection.recv()


def _answer(
    connection: Connection, video: Any, indices: np.ndarray, size: int, is_placed: bool, reports: bool
) -> None:
    """Sends the frames of one request, and its end; ``size`` 0: all of them together."""

    def place(height: int, width: int) -> Placement:
        connection.send(Size(height, width))
        placement: Placement = connection.recv()
        return placement

    placer = place if is_placed else None
    missing: set[int] | None = set() if reports else None
    if size == 0:
        connection.send((video.read(indices, placer), ()))
    else:
        for frames in video.read_chunks(indices, size, placer, missing):
            connection.send((frames, missing))
            if missing:
                missing.clear()
    connection.send(End())
