"""The record of videos being read and of banned videos, shared between the loader and its workers.

N videos.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

# Value in ``Quarantine._banned`` -> reason and detail of the ban.
BAN_REASONS = {
    1: ("hung", "reading it did not end within DATA_LOADER.SAMPLE_TIMEOUT"),
    2: ("killed its worker", "twice; the decoder crashed or took all memory"),
}
HUNG, KILLED = BAN_REASONS
_NOTHING = -1


class Reading(NamedTuple):
    """A video being read (-1: none), and the number of reads that this worker has started."""

    video_id: int
    number: int

    @property
    def is_idle(self) -> bool:
        """Whether the worker reads no video."""
        return self.video_id == _NOTHING


class Quarantine:
    """Shared memory in which a worker records the video it reads, and the main process the banned videos.

    A banned video is reported as broken without opening its file. A ban holds at once for all workers of a
    process, for the lifetime of the data set. Other processes and later runs do not know it: they find the
    same video broken in the same way, so that the same samples are substituted for it.

    Args:
        num_videos: N.
    """

    def __init__(self, num_videos: int) -> None:
        self._banned = torch.zeros(num_videos, dtype=torch.uint8).share_memory_()
        self._reading = torch.tensor([_NOTHING, 0]).share_memory_()

    def for_another_worker(self) -> Quarantine:
        """Returns a quarantine that shares the bans and has its own record of the video being read."""
        other = copy.copy(self)
        other._reading = self._reading.clone().share_memory_()
        return other

    def ban(self, video_ids: NDArray[np.int64], reason: int) -> None:
        """Bans videos from being read again; ``reason`` is a key of :data:`BAN_REASONS`."""
        self._banned[torch.from_numpy(video_ids)] = reason

    def find_ban(self, video_id: int) -> tuple[str, str] | None:
        """Returns reason and detail of a ban; None where the video may be read."""
        return BAN_REASONS.get(int(self._banned[video_id]))

    @contextmanager
    def reading(self, video_id: int) -> Iterator[None]:
        """Records that a video is being read while the block runs."""
        self._reading[1] += 1
        self._reading[0] = video_id
        try:
            yield
        finally:
            self._reading[0] = _NOTHING

    def observe(self) -> Reading:
        """Returns the video being read; its number changes with each read, also where the worker is idle."""
        return Reading(*self._reading.tolist())
