"""Videos that another process decodes.

T frames, t of a chunk, H W pixels, N frames of the video.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from slowfast.errors import DecodeError, InputError, check_positive
from slowfast.video.container import Address
from slowfast.video.decoding import OpenVideo
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placer
from vtn.predictor.reading.decoders import Decoders, End, Size
from vtn.predictor.scoring import CRASHED
from vtn.predictor.videos import FileSource, MissingSource, Video, VideoSource


def check_isolated(videos: Sequence[Video | VideoSource], time_limit: float) -> Sequence[Video | VideoSource]:
    """Returns videos that processes can read.

    Raises:
        InputError: for a limit that is not above 0, frames in memory, and open files.
    """
    check_positive(time_limit=time_limit)
    for video in videos:
        place = video.place if isinstance(video, FileSource) else video
        if not isinstance(place, str | os.PathLike | Address | MissingSource):
            raise InputError(
                f"time_limit = {time_limit:g}: needs paths or addresses, not a {type(video).__name__}; "
                "leave the limit out"
            )
    return videos


@dataclass(eq=False)
class IsolatedSource:
    """A video that another process decodes.

    Attributes:
        source: the video; a process can open it.
        time_limit: seconds for reading the video; where it is read in chunks of frames, for each chunk.
        decoders: the processes.
        seconds: spent of the limit so far; a video whose process crashes may be read again from 0.
    """

    source: VideoSource
    time_limit: float
    decoders: Decoders
    seconds: float = 0.0

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
        self._isolated, self._is_idle = isolated, False
        self._decoder = isolated.decoders.take()
        try:
            self.times: FrameTimes = self._receive((isolated.source, threads))
            self._is_idle = True
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_idle:
            self._isolated.decoders.give_back(self._decoder)
        else:
            self._isolated.decoders.end(self._decoder)

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Returns the placed frames of the given indices, (T, H, W, 3) uint8."""
        (frames,) = self._ask(indices, 0, placer, None)
        return frames

    def read_chunks(
        self,
        indices: np.ndarray,
        chunk_frames: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields chunks of frames (t, H, W, 3) uint8; the arguments are those of ``OpenVideo``."""
        return self._ask(indices, chunk_frames, placer, missing)

    def _ask(
        self, indices: np.ndarray, size: int, placer: Placer | None, missing: set[int] | None
    ) -> Iterator[np.ndarray]:
        """Yields what the process reads; a chunk (``size`` above 0) has the full time limit of its own."""
        self._is_idle = False
        requests: tuple[Any, ...] = ((indices, size, placer is not None, missing is not None),)
        while not isinstance(answer := self._receive(*requests, is_chunk=size > 0), End):
            requests = ()
            if isinstance(answer, Size):
                # Called here and not in the process: it may be any function, also one that records.
                assert placer is not None
                requests = (placer(answer.height, answer.width),)
                continue
            frames, lost = answer
            if missing is not None:
                missing.update(lost)
            yield frames
        self._is_idle = True

    def _receive(self, *requests: Any, is_chunk: bool = False) -> Any:
        """Sends requests; returns the next answer of the process, or raises the error that it is."""
        isolated, connection = self._isolated, self._decoder.connection
        limit = isolated.time_limit - (0.0 if is_chunk else isolated.seconds)
        try:
            for request in requests:
                # Not `send`: where it fails, the error would keep a view of a BytesIO as long as it is itself
                # kept, and collecting those two as garbage crashes Python 3.12.1, and 3.13 reports it.
                connection.send_bytes(pickle.dumps(request))
            if (seconds := self._decoder.wait(limit)) >= limit:
                work = "a chunk" if is_chunk else "it"
                detail = f"reading {work} did not end within {isolated.time_limit:g} s"
                raise DecodeError(isolated.name, "hung", f"{detail}; --time-limit allows more")
            answer = connection.recv()
        except (EOFError, ConnectionError):
            isolated.seconds = 0.0  # for a second attempt
            detail = "the decoder crashed or took all memory"
            raise DecodeError(isolated.name, CRASHED, detail) from None
        isolated.seconds = 0.0 if is_chunk else isolated.seconds + seconds
        if isinstance(answer, Exception):
            self._is_idle = True
            raise answer
        return answer
