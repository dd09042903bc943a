"""A data set without files, at one of whose videos something happens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.annotations import Annotations, PathTable
from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import EvalSampler, TrainSampler
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.datasets.views.view_reader import WholeVideoViews
from slowfast.errors import DecodeError

VIDEOS = 12
BAD = 5  # the video at which something happens


class StandIn:
    """A reader of videos whose paths are numbers; it calls ``at_bad`` when it reads the bad one.

    Attributes:
        scheme: of one view per video.
        num_bad_reads: calls of ``at_bad`` in all processes.
    """

    scheme = WholeVideoViews(num_frames=2, target_fps=25, short_side=4, crop_size=4)

    def __init__(self, at_bad: Callable[[], None]) -> None:
        self._at_bad = at_bad
        self.num_bad_reads = torch.zeros(1, dtype=torch.int64).share_memory_()

    def read(self, path: str, *_: object) -> tuple[Tensor, Tensor]:
        if int(path) == BAD:
            self.num_bad_reads += 1
            self._at_bad()
        rng = _[2]
        assert isinstance(rng, np.random.Generator)
        noise = torch.from_numpy(rng.integers(0, 256, (3, 2, 4, 4), np.uint8))
        return noise, torch.arange(2) + int(path)


def stand_in_dataset(at_bad: Callable[[], None], *, training: bool = False) -> VideoDataset:
    """Returns a data set that calls ``at_bad`` where it reads its bad video."""
    labels = torch.arange(VIDEOS, dtype=torch.int32)
    annotations = Annotations(PathTable.from_strings([str(i) for i in range(VIDEOS)]), labels, None, VIDEOS)
    return VideoDataset(annotations, StandIn(at_bad), substitute=training, seed=3)


def loader_of(data: VideoDataset, *, workers: int) -> ClipLoader:
    """Returns a loader of two videos per batch that waits for 0.6 s for each of them."""
    sampler = TrainSampler(VIDEOS, 2, seed=3) if data.is_for_training else EvalSampler(VIDEOS, 1, 2)
    return ClipLoader(data, sampler, num_workers=workers, sample_timeout=0.6)


def stand_in_loader(at_bad: Callable[[], None], *, workers: int, training: bool = False) -> ClipLoader:
    """Returns the loader of a :func:`stand_in_dataset`."""
    return loader_of(stand_in_dataset(at_bad, training=training), workers=workers)


def hang() -> None:
    """Never ends."""
    time.sleep(1000)


def die() -> None:
    """Kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    """Reports the bad video as one that cannot be decoded."""
    raise DecodeError(str(BAD), "corrupt")


def do_nothing() -> None:
    """Makes the bad video a sound one."""


def assert_same(some: list[ClipBatch], others: list[ClipBatch]) -> None:
    """Asserts that batches have the same frames of the same videos."""
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert one.video_id.tolist() == other.video_id.tolist()
