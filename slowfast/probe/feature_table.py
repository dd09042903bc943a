"""All features of a data set in memory, and the clips that a configuration would read of them.

V videos, R rows of all videos, T rows of a clip, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.video_dataset import VideoDataset
from slowfast.datasets.views.build import build_views
from slowfast.datasets.views.view_reader import Segment
from slowfast.errors import ConfigError, DataError, DecodeError
from slowfast.features.cache_reader import CacheReader
from slowfast.features.file_reader import FeatureFileReader
from slowfast.features.row_times import RowTimes, plan_rows
from slowfast.log import get_logger
from slowfast.progress import Progress

logger = get_logger(__name__)

# Features may take this fraction of the free memory.
_MAX_MEMORY = 0.6
ClipInputs = tuple[Tensor, Tensor, Tensor | None]
"""Features, positions and mask of clips, the arguments of a model's ``classify``."""

DRAWS = 16
"""Training clips that are planned per video; each epoch takes one of them."""


@dataclass(frozen=True)
class FeatureTable:
    """The features of V videos.

    Attributes:
        rows: (R, F) or (R, M, F), the rows of all videos one after another, in the dtype of the cache.
        starts: (V + 1,) int64, video v has the rows from ``starts[v]`` up to ``starts[v + 1]``.
        times: of the rows of each video.
        labels: (V,) int64.
        paths: of the videos.
        segments: start and end in seconds of each video in its file; None for full files.
        groups: the group of each video by its list; the path of the video where the list names none.
    """

    rows: Tensor
    starts: Tensor
    times: tuple[RowTimes, ...]
    labels: Tensor
    paths: tuple[str, ...]
    segments: tuple[Segment | None, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(F,) or (M, F)."""
        return tuple(self.rows.shape[1:])

    def take(self, rows: Tensor) -> Tensor:
        """Returns the rows with these indices (…), float32 (…, F) or (…, M, F)."""
        # Four times as fast as self.rows[rows], which copies element by element.
        taken = self.rows.index_select(0, rows.flatten()).float()
        return taken.view(*rows.shape, *self.row_shape)

    def video(self, index: int) -> Tensor:
        """Returns all rows of a video float32, (T, F) or (T, M, F); those of its segment where it has one."""
        start, end = self.starts[index : index + 2].tolist()
        if (segment := self.segments[index]) is not None:
            first, cut = self.times[index].times.cut(*segment)
            start, end = start + first, start + first + cut.num_frames
        return self.rows[start:end].float()


@dataclass(frozen=True)
class ClipPlan:
    """The rows of D clips of each video.

    Attributes:
        rows: (D, V, T) int64, indices in :attr:`FeatureTable.rows`; −1 where a clip is shorter.
        positions: (D, V, T) int64.
    """

    rows: Tensor
    positions: Tensor

    def clips(self, table: FeatureTable, videos: Tensor, draws: Tensor | int = 0) -> ClipInputs:
        """Returns features float32, positions and mask of one clip of each of these videos.

        The mask is None where all clips are complete; otherwise rows beyond the longest clip are left out.
        """
        rows = self.rows[draws, videos]  # (B, T)
        positions = self.positions[draws, videos]
        mask = rows >= 0
        if mask.all():
            return table.take(rows), positions, None
        longest = int(mask.sum(dim=1).max())
        rows, positions, mask = rows[:, :longest], positions[:, :longest], mask[:, :longest]
        return table.take(rows.clamp(min=0)), positions, mask


def load_table(dataset: Any, videos: Sequence[int] | None = None) -> FeatureTable:
    """Reads all features of a data set, or of some of its videos; broken videos are logged and left out.

    So are rows of NaN, which stand for frames that cannot be decoded.

    Raises:
        ConfigError: for a data set without features, or of videos with several labels.
        DataError: where the features do not fit into memory, differ in their width, or none can be read.
    """
    reader = _feature_reader(dataset)
    wanted = range(dataset.num_videos) if videos is None else videos
    tables: list[FeatureTable] = []
    lost: list[int] = []
    with Progress(len(wanted), "features", "video") as bar:
        for index in wanted:
            try:
                table, num_lost = _read_decoded(reader, dataset, index)
            except DecodeError as error:
                logger.warning("left out: %s", error)
            else:
                if not tables:
                    _check_memory(table.rows, len(wanted))
                _check_same_shape(table, (tables or [table])[0])
                tables.append(table)
                lost += [num_lost] if num_lost else []
            bar.update(1)
    if not tables:
        raise DataError("the features of no video can be read; the warnings above name the causes")
    if lost:
        logger.warning(
            "left out: %d rows of %d of %d videos, which are NaN since their frames could not be decoded",
            sum(lost),
            len(lost),
            len(wanted),
        )
    return concatenate(tables)


def _feature_reader(dataset: Any) -> CacheReader | FeatureFileReader:
    """Returns the reader of a data set of features with one label per video; else raises ``ConfigError``."""
    if not isinstance(dataset, VideoDataset) or not isinstance(
        dataset.reader, CacheReader | FeatureFileReader
    ):
        raise ConfigError(
            "DATA.FEATURES = '': must be set for a probe, which works on features; extract them with "
            "`slowfast extract`, or use the data set 'features'"
        )
    if dataset.labels.ndim != 1:
        raise ConfigError("DATA.MULTI_LABEL = True: must be False for a probe, which compares single classes")
    return dataset.reader


def _read_decoded(
    reader: CacheReader | FeatureFileReader, dataset: Any, index: int
) -> tuple[FeatureTable, int]:
    """Returns the rows of a video without those of NaN, and the number of those left out.

    Raises:
        DecodeError: where the file cannot be read, its values are not finite, or it ends before the segment.
    """
    path = dataset.paths[index]
    segment: Segment | None = None if dataset.segments is None else tuple(dataset.segments[index].tolist())
    features, times = reader.read_all(path)
    values = features.flatten(1)
    lost = values.isnan().all(dim=1)
    damaged = ~(lost | values.isfinite().all(dim=1))
    if damaged.any():
        detail = f"NaN or infinite values in row {int(damaged.nonzero()[0])}; extract the features again"
        raise DecodeError(path, "damaged features", detail)
    first, needed = times.times.cut_segment(segment, path)
    if lost[first : first + needed.num_frames].all():
        raise DecodeError(path, "corrupt", "no frame can be decoded")
    if lost.any():
        features, times = features[~lost], times.select((~lost).numpy())
    labels, groups = dataset.labels[index : index + 1].astype(np.int64), (listed_groups(dataset)[index],)
    starts = torch.tensor([0, len(features)])
    table = FeatureTable(features, starts, (times,), torch.from_numpy(labels), (path,), (segment,), groups)
    return table, int(lost.sum())


def _check_same_shape(table: FeatureTable, other: FeatureTable) -> None:
    """Raises ``DataError`` where the rows of two tables differ in their shape."""
    if table.row_shape != other.row_shape:
        raise DataError(
            f"{table.paths[0]}: has rows of shape {table.row_shape}, and {other.paths[0]} has "
            f"{other.row_shape}; extract the features of all videos with one model, or remove the video from "
            "its list"
        )


def listed_groups(dataset: Any) -> Sequence[str]:
    """Returns the group of each video by the list of a data set; the paths where it has no such column."""
    return dataset.paths if dataset.groups is None else dataset.groups


def concatenate(tables: Sequence[FeatureTable]) -> FeatureTable:
    """Returns the videos of several tables in one."""
    if len(tables) == 1:
        return tables[0]
    for table in tables[1:]:
        _check_same_shape(table, tables[0])
    offsets = np.cumsum([0, *(len(table.rows) for table in tables)]).tolist()
    starts = [table.starts[:-1] + offset for table, offset in zip(tables, offsets, strict=False)]
    return FeatureTable(
        rows=torch.cat([table.rows for table in tables]),
        starts=torch.cat([*starts, torch.tensor([offsets[-1]])]),
        times=tuple(times for table in tables for times in table.times),
        labels=torch.cat([table.labels for table in tables]),
        paths=tuple(path for table in tables for path in table.paths),
        segments=tuple(segment for table in tables for segment in table.segments),
        groups=tuple(group for table in tables for group in table.groups),
    )


def plan_clips(cfg: CfgNode, table: FeatureTable, position_rate: float | None, split: str) -> ClipPlan:
    """Returns the clips of each video that a split reads: ``DRAWS`` random ones in training, one in "val"."""
    scheme, draws = build_views(cfg, split), DRAWS if split == "train" else 1
    starts = table.starts.tolist()
    planned: list[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]] = []
    for video, path in enumerate(table.paths):
        rng = np.random.default_rng((cfg.RNG_SEED, video))
        for draw in range(draws):
            times, segment = table.times[video], table.segments[video]
            rows, positions = plan_rows(scheme, position_rate, times, path, 0, rng, segment)
            planned.append((draw, video, rows + starts[video], positions))
    longest = max(len(rows) for _, _, rows, _ in planned)
    all_rows = np.full((draws, len(table), longest), -1, dtype=np.int64)
    all_positions = np.zeros_like(all_rows)
    for draw, video, rows, positions in planned:
        all_rows[draw, video, : len(rows)] = rows
        all_positions[draw, video, : len(rows)] = positions
    return ClipPlan(torch.from_numpy(all_rows), torch.from_numpy(all_positions))


def _check_memory(first: Tensor, num_videos: int) -> None:
    """Raises ``DataError`` where features of this size for all videos would not fit into memory."""
    size = first.numel() * first.element_size() * num_videos
    free = psutil.virtual_memory().available
    if size > _MAX_MEMORY * free:
        raise DataError(
            f"the features of {num_videos:,} videos take about {size / 2**30:.1f} GiB and {free / 2**30:.1f} "
            "GiB of memory are free; probe fewer videos (--limit N), or extract fewer frames per second "
            "(DATA.FEATURES_FPS)"
        )
