"""Videos decoded by another process, so that a decoder that hangs or crashes costs one video alone.

T frames, t of a chunk, H W pixels, N frames of the video.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Self

import numpy as np

from slowfast.datasets.loading.worker_process import check_start, prepare_process, worker_context
from slowfast.errors import DecodeError
from slowfast.interrupt import sparing_new_processes, when_parent_ends
from slowfast.video.decoding import OpenVideo
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placement, Placer
from vtn.predictor.scoring import FAILURES
from vtn.predictor.texts import describe_failure
from vtn.predictor.videos import VideoSource

# Seconds to wait for a killed process; one that is blocked on a dead disk is left behind.
_JOIN_SECONDS = 5.0
# Longest wait whose duration counts: the whole command may have been suspended meanwhile.
_POLL_SECONDS = 0.5
# Seconds within which a video must be closed before the process gets another one.
_CLOSE_SECONDS = 5.0
# Seconds for the start of a process, which imports torch and the user's script where it is not forked.
_START_SECONDS = 120.0


class Decoder:
    """A process that decodes videos one after another.

    Raises:
        UsageError: see :func:`slowfast.datasets.loading.worker_process.check_start`.
    """

    def __init__(self) -> None:
        context = worker_context()
        self.connection, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end,), name="decoder", daemon=True)
        with sparing_new_processes(context):
            self.process.start()
        end.close()
        # Not counted as time of a video: a process that is not forked takes seconds to start.
        with suppress(EOFError, ConnectionError):
            if self.answers(_START_SECONDS):
                self.connection.recv()
                return
            self.process.kill()  # forked beside other threads, it may hang before it starts
        self.process.join(_JOIN_SECONDS)
        check_start(self.process.exitcode)  # another end is noticed when the first video is sent

    def answers(self, seconds: float) -> bool:
        """Returns whether the process answers within that time.

        Raises:
            EOFError: where it has ended.
        """
        waited = 0.0
        while not self.connection.poll(step := min(_POLL_SECONDS, seconds)):
            # Another forked process may hold the other end of the pipe of one that has crashed.
            if not (self.process.is_alive() or self.connection.poll()):
                raise EOFError
            waited += step
            if waited >= seconds:
                return False
        return True

    def has_closed(self) -> bool:
        """Returns whether the process has closed its last video; closing one may hang or crash, too."""
        with suppress(EOFError, ConnectionError):
            return self.answers(_CLOSE_SECONDS) and isinstance(self.connection.recv(), _End)
        return False

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join(_JOIN_SECONDS)
        self.connection.close()


class Decoders:
    """The decoders of many videos: one that has decoded a video without an error decodes the next one."""

    def __init__(self) -> None:
        self._idle: list[Decoder] = []

    def take(self) -> Decoder:
        """Returns a decoder without a video."""
        while True:
            try:
                decoder = self._idle.pop()
            except IndexError:  # another thread may have taken the last one
                return Decoder()
            if decoder.has_closed():
                return decoder
            decoder.close()

    def give_back(self, decoder: Decoder) -> None:
        """Ends the video of a decoder, and keeps it for the next one."""
        try:
            decoder.connection.send(None)
        except OSError:  # it has crashed meanwhile
            decoder.close()
        else:
            self._idle.append(decoder)

    def close(self) -> None:
        """Ends the decoders without a video."""
        while self._idle:
            self._idle.pop().close()


@dataclass(frozen=True)
class IsolatedSource:
    """A video that another process decodes.

    Attributes:
        source: the video; a process can open it.
        time_limit: seconds for opening it, and for each chunk of its frames.
        decoders: the processes.
    """

    source: VideoSource
    time_limit: float
    decoders: Decoders

    @property
    def name(self) -> str:
        """The name of the video."""
        return self.source.name

    def open(self, threads: int = 1) -> OpenVideo:
        """Opens the video in a process, see ``vtn.predictor.videos.VideoSource``."""
        return IsolatedVideo(self, threads)


class IsolatedVideo:
    """An open video in another process, with the interface of ``slowfast.video.decoding.OpenVideo``.

    Args:
        isolated: the video, its time limit and the processes.
        threads: number of decoding threads.

    Attributes:
        times: the display times of the N frames.

    Raises:
        DecodeError, InputError, OSError: as opening the source does; also ``DecodeError`` where the process
            crashes, or does not answer in time.
    """

    def __init__(self, isolated: IsolatedSource, threads: int) -> None:
        self._isolated = isolated
        self._decoder = isolated.decoders.take()
        self._is_idle = True
        try:
            self.times: FrameTimes = self._receive((isolated.source, threads))
        except BaseException:
            self._decoder.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_idle:
            self._isolated.decoders.give_back(self._decoder)
        else:
            self._decoder.close()

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Returns the placed frames of the given indices, (T, H, W, 3) uint8."""
        (frames,) = self._ask(indices, 0, placer, None)
        return frames

    def read_chunks(
        self,
        indices: np.ndarray,
        size: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the frames of ascending indices in chunks (t, H, W, 3) uint8 of ``size``.

        Args:
            missing: collects the indices that cannot be decoded; None: such frames are an error.
        """
        return self._ask(indices, size, placer, missing)

    def _ask(
        self, indices: np.ndarray, size: int, placer: Placer | None, missing: set[int] | None
    ) -> Iterator[np.ndarray]:
        """Yields what the process reads; ends the process unless all of it is taken."""
        self._is_idle = False
        try:
            answer = self._receive((indices, size, placer is not None, missing is not None))
            while not isinstance(answer, _End):
                if isinstance(answer, _Size):
                    # Called here and not in the process: it may be any function, also one that records.
                    assert placer is not None
                    answer = self._receive(placer(answer.height, answer.width))
                    continue
                frames, lost = answer
                if missing is not None:
                    missing.update(lost)
                yield frames
                answer = self._receive()
            self._is_idle = True
        finally:
            if not self._is_idle:
                self._decoder.close()

    def _receive(self, *requests: Any) -> Any:
        """Sends requests; returns the next answer of the process, or raises the error that it is."""
        name, limit, connection = self._isolated.name, self._isolated.time_limit, self._decoder.connection
        try:
            for request in requests:
                connection.send(request)
            if not self._decoder.answers(limit):
                detail = f"the decoder gave no frame within {limit:g} s; --time-limit allows more"
                raise DecodeError(name, "hung", detail)
            answer = connection.recv()
        except (EOFError, ConnectionError):
            detail = "the decoder crashed or took all memory"
            raise DecodeError(name, "killed its worker", detail) from None
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass(frozen=True)
class _Size:
    """A question for the placement of frames of this size, in pixels."""

    height: int
    width: int


class _End:
    """The end of the frames that were asked for, or of the video."""


def _serve(connection: Connection) -> None:
    """Opens the videos that the other process names, one after another, until that has ended."""
    prepare_process()
    when_parent_ends(lambda: os._exit(1))  # also while the decoder hangs
    with suppress(EOFError, ConnectionError):
        connection.send(None)  # it has started
        while True:
            _serve_video(connection, *connection.recv())


def _serve_video(connection: Connection, source: VideoSource, threads: int) -> None:
    """Reads what the other process asks for, until that closes the video."""
    try:
        with source.open(threads) as video:
            connection.send(video.times)
            while (request := connection.recv()) is not None:
                _answer(connection, video, *request)
        connection.send(_End())
    except FAILURES as error:
        connection.send(portable(error, source.name))


def _answer(
    connection: Connection, video: Any, indices: np.ndarray, size: int, is_placed: bool, reports: bool
) -> None:
    """Sends the frames of one request, and its end; ``size`` 0: all of them together."""

    def place(height: int, width: int) -> Placement:
        connection.send(_Size(height, width))
        placement: Placement = connection.recv()
        return placement

    placer = place if is_placed else None
    missing: set[int] = set()
    if size == 0:
        connection.send((video.read(indices, placer), ()))
    else:
        # Folders of images and other decoders cannot report missing frames.
        for frames in video.read_chunks(indices, size, placer, *((missing,) if reports else ())):
            connection.send((frames, sorted(missing)))
            missing.clear()
    connection.send(_End())


def portable(error: Exception, name: str) -> Exception:
    """Returns an error that keeps its description in another process, which does not get its cause."""
    if not isinstance(error, DecodeError):
        return error
    description = describe_failure(error, name).removeprefix(error.reason).strip()
    return DecodeError(name, error.reason, description.removeprefix("(").removesuffix(")"))
