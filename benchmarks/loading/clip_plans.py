"""The clips that the loader of this package reads in an epoch, as plans that other loaders can follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self, cast

import numpy as np

from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import TrainSampler
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.datasets.views.view_reader import ViewReader
from slowfast.video.decoding import open_video
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placement, Placer


@dataclass(frozen=True)
class ClipPlan:
    """One training clip.

    Attributes:
        path: of the file.
        indices: the frames in the file, ascending.
        pts: their timestamps in ticks of ``time_base``.
        place: scale, crop and flip of all frames.
    """

    path: str
    indices: tuple[int, ...]
    pts: tuple[int, ...]
    time_base: Fraction
    place: Placement

    @property
    def seconds(self) -> tuple[float, float]:
        """The timestamps of the first and the last frame."""
        return float(self.pts[0] * self.time_base), float(self.pts[-1] * self.time_base)


BatchPlan = list[ClipPlan]


def plan_epoch(loader: ClipLoader, epoch: int) -> list[BatchPlan]:
    """Returns the clips of each batch that a training loader yields in an epoch; decodes nothing."""
    dataset = copy.copy(cast(VideoDataset, loader.dataset))
    plans: list[ClipPlan] = []
    dataset.reader = replace(
        cast(ViewReader, dataset.reader), open_source=lambda path: _PlannedVideo(path, plans)
    )
    sampler = cast(TrainSampler, loader.batch_sampler)
    sampler.set_position(epoch)
    batches = []
    for items in sampler:
        plans.clear()
        for item in items:
            dataset[item]
        batches.append(list(plans))
    return batches


class _PlannedVideo:
    """An open video that notes which frames are read, and returns black ones."""

    # path -> times of the frames, timestamps, ticks, size
    _known: dict[str, tuple[FrameTimes, np.ndarray, Fraction, tuple[int, int]]] = {}  # noqa: RUF012

    def __init__(self, path: str, plans: list[ClipPlan]) -> None:
        self._path = path
        self._plans = plans
        if path not in self._known:
            with open_video(path) as video:
                assert video.pts is not None
                self._known[path] = video.times, video.pts, video.time_base, video.size
        self.times, self._pts, self._time_base, self._size = self._known[path]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes nothing."""

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        assert placer is not None
        place = placer(*self._size)
        ticks = tuple(self._pts[indices].tolist())
        self._plans.append(ClipPlan(self._path, tuple(indices.tolist()), ticks, self._time_base, place))
        return np.zeros((len(indices), place.crop_height, place.crop_width, 3), np.uint8)

    def read_chunks(self, *_: Any, **__: Any) -> Iterator[np.ndarray]:
        raise NotImplementedError("training clips are not read in chunks")
