"""The data set of videos: one item a view, read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slowfast.datasets.annotations import Annotations, PathTable
from slowfast.datasets.clip import BrokenVideo, Clip, ReadClip, SampleRef, StreamedClip
from slowfast.datasets.loading.quarantine import Quarantine
from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.datasets.views.view_reader import Segment
from slowfast.errors import DecodeError

# Videos tried in place of a broken one before a training sample is given up.
_MAX_SUBSTITUTES = 10


class FeatureOrigin(Protocol):
    """The origin of the features of a data set.

    Attributes:
        folder: of the cache; for files made elsewhere, that of the data set.
        manifest: the description of how they were made; None where it is not known.
    """

    @property
    def folder(self) -> str: ...
    @property
    def manifest(self) -> Any: ...


class Reader(Protocol):
    """Reads one view of a file; see :class:`slowfast.datasets.views.view_reader.ViewReader`."""

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor] | StreamedView: ...


Item = ReadClip | StreamedClip | BrokenVideo


class VideoDataset(Dataset[Item]):
    """Views of videos. Item ``i`` is view ``i % num_views`` of video ``i // num_views``.

    Args:
        annotations: the videos and their labels.
        reader: how a view is read.
        num_temporal, num_crops: views of a video; view ``v`` is temporal view ``v // num_crops`` with crop
            ``v % num_crops``.
        substitute: in training, another video takes the place of a broken one; else the item is the
            :class:`BrokenVideo` itself.
        seed: everything random in an item is a function of it, the epoch and the item's index.
        shuffle_frames: permute each view's frames and leave its positions.
        reverse_channels: give BGR.
        make_clip: makes an item of (what the reader gave, positions, label, video id, view id).
        features: where the items are features, their origin; see :class:`FeatureOrigin`.

    Attributes:
        features: as given.
        watch: which video is read at the moment, and which are read no more.
    """

    def __init__(
        self,
        annotations: Annotations,
        reader: Reader,
        *,
        num_temporal: int = 1,
        num_crops: int = 1,
        substitute: bool = False,
        seed: int = 0,
        shuffle_frames: bool = False,
        reverse_channels: bool = False,
        make_clip: Callable[..., ReadClip] = Clip,
        features: FeatureOrigin | None = None,
    ) -> None:
        self._annotations = annotations
        self._reader = reader
        self._num_crops = num_crops
        self._substitute = substitute
        self._seed = seed
        self._shuffle_frames = shuffle_frames
        self._reverse_channels = reverse_channels
        self._make_clip = make_clip
        self.features = features
        self.num_videos = len(annotations)
        self.num_views = num_temporal * num_crops
        self.watch = Quarantine(self.num_videos)

    def __len__(self) -> int:
        return self.num_videos * self.num_views

    @property
    def labels(self) -> np.ndarray:
        """(num_videos,) int32, or (num_videos, K) float32 where videos have several labels."""
        return self._annotations.labels()

    @property
    def paths(self) -> PathTable:
        """The path of each video, as a sequence of strings."""
        return self._annotations.paths

    @property
    def segments(self) -> np.ndarray | None:
        """(num_videos, 2) float64, start and end in seconds in each file; None for whole files."""
        segments = self._annotations.segments
        return None if segments is None else segments.numpy()

    def __getitem__(self, item: int | SampleRef) -> Item:
        """Reads a view. Plain ``i`` means ``SampleRef(epoch=0, index=i)``."""
        epoch, index = item if isinstance(item, tuple) else (0, item)
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of a data set of {len(self)}")
        video_id, view_id = divmod(index, self.num_views)
        clip = self._read(video_id, view_id, np.random.default_rng((self._seed, epoch, index)))
        if not (isinstance(clip, BrokenVideo) and self._substitute):
            return clip
        broken = [clip]
        for attempt in range(_MAX_SUBSTITUTES):
            rng = np.random.default_rng((self._seed, epoch, index, attempt))
            clip = self._read(int(rng.integers(self.num_videos)), view_id, rng)
            if isinstance(clip, BrokenVideo):
                broken.append(clip)
            elif not isinstance(clip, StreamedClip):  # which evaluation alone has
                return replace(clip, broken=tuple(broken))  # type: ignore[type-var]
        return broken[0]

    def _read(self, video_id: int, view_id: int, rng: np.random.Generator) -> Item:
        path = self.paths[video_id]
        if (ban := self.watch.find_ban(video_id)) is not None:
            return BrokenVideo(video_id, path, *ban)
        view, crop = divmod(view_id, self._num_crops)
        segment = self._annotations.segment(video_id)
        try:
            with self.watch.reading(video_id):
                read = self._reader.read(path, view, crop, rng, segment)
        except DecodeError as error:
            return BrokenVideo(video_id, path, error.reason, error.detail)
        except (OSError, MemoryError) as error:
            return BrokenVideo(video_id, path, "unreadable", repr(error))
        label = self._annotations.label(video_id)
        if isinstance(read, StreamedView):
            order = torch.from_numpy(rng.permutation(len(read.indices))) if self._shuffle_frames else None
            read = replace(read, order=order, reverse_channels=self._reverse_channels)
            return StreamedClip(read, label, video_id, view_id)
        content, positions = read
        if self._reverse_channels:
            content = content.flip(0)
        clip = self._make_clip(content, positions, label, video_id, view_id)
        if self._shuffle_frames:
            clip = clip.reordered(torch.from_numpy(rng.permutation(len(positions))))
        return clip
