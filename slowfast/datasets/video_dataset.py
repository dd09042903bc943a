"""Data sets of views of videos: one item per view, read on demand.

N videos, K classes, T frames, H W pixels.
"""

from __future__ import annotations

import copy
import operator
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from slowfast.datasets.annotations import Annotations, PathTable
from slowfast.datasets.clip import BrokenVideo, Clip, ReadClip, StreamedClip
from slowfast.datasets.loading.quarantine import Quarantine
from slowfast.datasets.loading.samplers import SampleRef
from slowfast.datasets.shards.member_paths import ShardOrder
from slowfast.datasets.unusable_videos import describe_base_folder
from slowfast.datasets.views.frame_order import GIVEN, order_frames
from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.datasets.views.view_reader import Scheme, Segment
from slowfast.errors import DataError, DecodeError
from slowfast.timing.stage_times import READING, measure

# Videos tried in place of a broken one before a training sample is reported as broken.
_MAX_SUBSTITUTES = 10
# Videos of two lists that are compared.
_MOST_COMPARED = 1_000_000


@dataclass(frozen=True)
class FeatureOrigin:
    """The source of the features of a data set.

    Attributes:
        folder: folder of the cache; for files of other programs the folder of the data set.
        manifest: :class:`slowfast.features.cache.Manifest`; None for files of other programs.
    """

    folder: str
    manifest: Any = None


class Reader(Protocol):
    """A reader of views of files; see :class:`slowfast.datasets.views.view_reader.ViewReader`."""

    @property
    def scheme(self) -> Scheme: ...

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor] | StreamedView: ...


Item = ReadClip | StreamedClip | BrokenVideo


class ViewDataset(Dataset[Item]):
    """A data set as the engine uses it. Item ``i`` is view ``i % num_views`` of video ``i // num_views``.

    Args:
        paths: N paths, or other names of the videos.
        num_views: views per video.
        substitute: True (training): another video is substituted for a broken one; False: the item is the
            :class:`BrokenVideo` itself.
        seed: everything random in an item is a function of it, the epoch and the item's index.
        frame_order: order of the frames of each view, whose positions stay; see
            :func:`slowfast.datasets.views.frame_order.order_frames`.
        features: where the items are features, their origin.

    Attributes:
        paths: as given.
        groups: the group of each video, see :mod:`slowfast.datasets.groups`; None where the list names none.
        shards: the tar archives that contain the videos; None for files.
        class_names: K names, where the data set itself names all classes; else empty.
        quarantine: the video being read, and the banned videos.
    """

    groups: Sequence[str] | None = None
    shards: ShardOrder | None = None
    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        paths: PathTable,
        num_views: int,
        *,
        substitute: bool = False,
        seed: int = 0,
        frame_order: str = GIVEN,
        features: FeatureOrigin | None = None,
    ) -> None:
        self.paths = paths
        self.num_videos = len(paths)
        self.num_views = num_views
        self.features = features
        self.quarantine = Quarantine(self.num_videos)
        self._substitute = substitute
        self._seed = seed
        self._frame_order = frame_order

    @property
    def is_for_training(self) -> bool:
        """Whether its clips are those of a training, which are others in each epoch."""
        return self._substitute

    @property
    @abstractmethod
    def labels(self) -> np.ndarray:
        """(N,) int32, or (N, K) float32 where videos have several labels."""

    @property
    def segments(self) -> np.ndarray | None:
        """(N, 2) float64, start and end in seconds within each file; None for full files."""
        return None

    @property
    def names(self) -> Sequence[str]:
        """The path of each video as its list names it; by default ``paths``."""
        return self.paths

    def in_order(self, frame_order: str) -> Self:
        """Returns a data set of the same views, their frames in another order; it has no banned videos."""
        other = copy.copy(self)
        other._frame_order = frame_order
        other.quarantine = Quarantine(self.num_videos)
        return other

    def find_same_file(self, video_id: int) -> NDArray[np.int64]:
        """Returns all videos that are read from the file of one, itself included; by default only itself."""
        return np.array([video_id])

    @abstractmethod
    def _read_view(self, video_id: int, view_id: int, rng: np.random.Generator) -> Item:
        """Reads one view; may raise ``DecodeError``, ``OSError`` and ``MemoryError`` for a broken video."""

    def __len__(self) -> int:
        return self.num_videos * self.num_views

    def __getitem__(self, item: int | SampleRef) -> Item:
        """Reads a view. An integer ``i`` means ``SampleRef(epoch=0, index=i)``."""
        epoch, index = item if isinstance(item, tuple) else (0, item)
        index = operator.index(index)  # also of NumPy and torch
        if not 0 <= index < len(self):
            if isinstance(item, tuple):
                raise DataError(
                    f"DATA_LOADER.TRAIN_SAMPLER: must yield indices from 0 to {len(self) - 1}, of the "
                    f"samples of the data set; one is {index}"
                )
            raise IndexError(f"item {index} of a data set of {len(self)}")
        video_id, view_id = divmod(index, self.num_views)
        clip = self._read(video_id, view_id, np.random.default_rng((self._seed, epoch, index)))
        if not (isinstance(clip, BrokenVideo) and self._substitute):
            return clip
        # The substitute is a function of epoch and index too, so that a resumed run gets the same one.
        broken = [clip]
        for attempt in range(_MAX_SUBSTITUTES):
            rng = np.random.default_rng((self._seed, epoch, index, attempt))
            clip = self._read(int(rng.integers(self.num_videos)), view_id, rng)
            if isinstance(clip, BrokenVideo):
                broken.append(clip)
            elif not isinstance(clip, StreamedClip):  # only evaluation has streamed clips
                return replace(clip, broken=tuple(broken))  # type: ignore[type-var]
        return broken[0]

    def _read(self, video_id: int, view_id: int, rng: np.random.Generator) -> Item:
        if (ban := self.quarantine.find_ban(video_id)) is not None:
            return BrokenVideo(video_id, self.paths[video_id], *ban)
        try:
            with self.quarantine.reading(video_id), measure(READING):
                return self._read_view(video_id, view_id, rng)
        except DecodeError as error:
            path, detail = self.paths[video_id], error.detail
            if error.reason == "missing" and not os.path.isabs(path) and self.shards is None:
                detail = f"{detail}; {describe_base_folder(self.paths.prefix)}"
            elif error.reason == "not a file" and os.path.isdir(path):
                detail = "a folder; TRAIN.DATASET frames and TEST.DATASET frames read folders of images"
            return BrokenVideo(video_id, path, error.reason, detail)
        except (OSError, MemoryError) as error:
            return BrokenVideo(video_id, self.paths[video_id], "unreadable", repr(error))


def count_shared_videos(training: ViewDataset, evaluated: ViewDataset) -> int:
    """Returns how many videos of an evaluated list are in a training list, too; 0 for lists of segments.

    Of longer lists the first million videos are compared, which takes two seconds.
    """
    datasets = (training, evaluated)
    if not all(isinstance(dataset, VideoDataset) and dataset.segments is None for dataset in datasets):
        return 0
    return len(set.intersection(*(set(islice(dataset.names, _MOST_COMPARED)) for dataset in datasets)))


class VideoDataset(ViewDataset):
    """The views of annotated videos, read by a :class:`Reader`.

    Args:
        annotations: the videos and their labels.
        reader: reads the views of its scheme; view ``v`` is temporal view ``v // num_crops`` with crop
            ``v % num_crops``.
        reverse_channels: return BGR instead of RGB.
        make_clip: builds an item from (frames or features, positions, label, video id, view id).
        substitute, seed, frame_order, features: see :class:`ViewDataset`.

    Attributes:
        reader: as given.
    """

    def __init__(
        self,
        annotations: Annotations,
        reader: Reader,
        *,
        substitute: bool = False,
        seed: int = 0,
        frame_order: str = GIVEN,
        reverse_channels: bool = False,
        make_clip: Callable[..., ReadClip] = Clip,
        features: FeatureOrigin | None = None,
    ) -> None:
        super().__init__(
            annotations.paths,
            reader.scheme.num_temporal * reader.scheme.num_crops,
            substitute=substitute,
            seed=seed,
            frame_order=frame_order,
            features=features,
        )
        self._annotations = annotations
        self.groups, self.shards = annotations.groups, annotations.shards
        self.class_names = annotations.class_names
        self.reader = reader
        self._reverse_channels = reverse_channels
        self._make_clip = make_clip

    @property
    def labels(self) -> np.ndarray:
        return self._annotations.labels()

    @property
    def segments(self) -> np.ndarray | None:
        segments = self._annotations.segments
        return None if segments is None else segments.numpy()

    @property
    def names(self) -> Sequence[str]:
        return self._annotations.names

    def find_same_file(self, video_id: int) -> NDArray[np.int64]:
        """Returns all videos that are read from the file of one, itself included, such as its segments."""
        # Each segment has a file of features of its own.
        same = self.features is None
        return self.paths.find_same(video_id) if same else super().find_same_file(video_id)

    def _read_view(self, video_id: int, view_id: int, rng: np.random.Generator) -> Item:
        view, crop = divmod(view_id, self.reader.scheme.num_crops)
        segment = self._annotations.segment(video_id)
        read = self.reader.read(self.paths[video_id], view, crop, rng, segment)
        label = self._annotations.label(video_id)
        if isinstance(read, StreamedView):
            order = order_frames(self._frame_order, len(read.indices), rng)
            read = replace(read, order=order, reverse_channels=self._reverse_channels)
            return StreamedClip(read, label, video_id, view_id)
        content, positions = read
        if self._reverse_channels:
            content = content.flip(0)
        clip = self._make_clip(content, positions, label, video_id, view_id)
        order = order_frames(self._frame_order, len(positions), rng)
        return clip if order is None else clip.reordered(order)
