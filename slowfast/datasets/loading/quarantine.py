"""What a data set tells of its readings, so that a video that hangs or kills its reader can be named.

N videos.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

# What a video may be banned for, by the number that stands in ``Quarantine.banned``: reason and detail.
BAN_REASONS = {
    1: ("hung", "reading it did not end within DATA_LOADER.SAMPLE_TIMEOUT"),
    2: ("killed its worker", "twice; the decoder crashed or took all memory"),
}
HUNG, KILLED = BAN_REASONS
_NOTHING = -1


class Reading(NamedTuple):
    """One reading of a video: which, and the how manieth of its worker."""

    video_id: int
    number: int


class Quarantine:
    """Shared memory in which a worker notes what it reads, and the main process whom to read no more.

    A banned video is given as broken without a look at its file. Bans hold for all workers of a process at
    once and as long as the data set lives; no other process and no later run knows of them: the same video
    is met, found out and banned there anew, so that the same substitutes stand in for it.

    Args:
        num_videos: N.
    """

    def __init__(self, num_videos: int) -> None:
        self._banned = torch.zeros(num_videos, dtype=torch.uint8).share_memory_()
        self._reading = torch.tensor([_NOTHING, 0]).share_memory_()

    def for_another_worker(self) -> Quarantine:
        """Returns a watch with the same bans and a reading of its own."""
        other = copy.copy(self)
        other._reading = self._reading.clone().share_memory_()
        return other

    def ban(self, video_id: int, reason: int) -> None:
        """Has a video read no more; ``reason`` is a key of :data:`BAN_REASONS`."""
        self._banned[video_id] = reason

    def find_ban(self, video_id: int) -> tuple[str, str] | None:
        """Returns reason and detail of a ban; None where the video may be read."""
        return BAN_REASONS.get(int(self._banned[video_id]))

    @contextmanager
    def reading(self, video_id: int) -> Iterator[None]:
        """Notes that a video is read while the block runs."""
        self._reading[1] += 1
        self._reading[0] = video_id
        try:
            yield
        finally:
            self._reading[0] = _NOTHING

    def current(self) -> Reading | None:
        """What is read at the moment; None: nothing."""
        video_id, number = self._reading.tolist()
        return None if video_id == _NOTHING else Reading(video_id, number)
