"""The views of many videos in order, read by the worker processes of the loader, which may hang or crash.

N videos.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.loading.quarantine import BAN_REASONS, HUNG, Quarantine
from slowfast.datasets.loading.workers import WorkerPool
from slowfast.errors import DecodeError, InputError, check_positive
from slowfast.video.container import Address
from vtn.predictor.reading.isolated_video import IsolatedSource, portable
from vtn.predictor.reading.reader import Reading
from vtn.predictor.scoring import attempt
from vtn.predictor.videos import FileSource, MissingSource, Video, VideoSource
from vtn.predictor.views import ReadVideo, ViewPlan


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


def read_in_processes(
    plan: ViewPlan, sources: Sequence[IsolatedSource], *, workers: int, time_limit: float
) -> Generator[Reading, None, None]:
    """Yields the videos in order; one that takes too long, or ends its process twice, is an error.

    Views that are decoded later are read from the yielded source, by a process for the one video.

    Args:
        sources: N videos.
        workers: number of processes.
        time_limit: seconds for reading one video.
    """
    if not sources:
        return  # without starting a process
    pool = WorkerPool(
        _Videos(plan, [one.source for one in sources], time_limit),
        _pack,
        num_workers=min(workers, len(sources)),
        sample_timeout=time_limit,
        timeout_name="--time-limit",
        workers_name="--workers",
    )
    videos = pool.run([number] for number in range(len(sources)))
    for source, packed in zip(sources, videos, strict=True):
        found = pickle.loads(packed)  # noqa: S301 (bytes of a process of this command)
        yield source, found.opened_by(source) if isinstance(found, ReadVideo) else found


class _Videos:
    """Videos as the loader's workers read them, by their numbers; failures are values.

    Args:
        plan: reads a video.
        sources: N videos.
        time_limit: seconds, for messages.

    Attributes:
        paths: the N names.
    """

    def __init__(self, plan: ViewPlan, sources: Sequence[VideoSource], time_limit: float) -> None:
        self.paths = [source.name for source in sources]
        self.quarantine = Quarantine(len(sources))
        self._plan = plan
        self._sources = sources
        self._time_limit = time_limit

    def find_same_file(self, number: int) -> NDArray[np.int64]:
        """Returns the numbers of all videos with the name of one."""
        return np.array([k for k, name in enumerate(self.paths) if name == self.paths[number]])

    def __getitem__(self, number: int) -> ReadVideo | Exception:
        source = self._sources[number]
        if (ban := self.quarantine.find_ban(number)) is not None:
            reason, detail = ban
            hung = f"reading it did not end within {self._time_limit:g} s; --time-limit allows more"
            return DecodeError(source.name, reason, hung if ban == BAN_REASONS[HUNG] else detail)
        with self.quarantine.reading(number):
            found = attempt(self._plan.read, source)
        return portable(found, source.name) if isinstance(found, Exception) else found


class _Pickler(pickle.Pickler):
    """A pickler of tensors by their values: shared memory is small in many containers."""

    def reducer_override(self, value: Any) -> Any:
        return (torch.from_numpy, (value.numpy(),)) if isinstance(value, Tensor) else NotImplemented


def _pack(items: Sequence[ReadVideo | Exception]) -> bytes:
    """Returns the bytes of the one video of a batch."""
    (item,) = items
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(item)
    return file.getvalue()
