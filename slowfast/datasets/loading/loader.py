"""From items to batches, in worker processes.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from fvcore.common.config import CfgNode

from slowfast.config.derived import clips_per_video, split_section
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Batch, BrokenVideo, Clip, ReadClip, StreamedClip
from slowfast.datasets.loading.samplers import (
    SAMPLER_REGISTRY,
    EvalSampler,
    TrainingSampler,
    TrainSampler,
)
from slowfast.datasets.loading.workers import WorkerPool
from slowfast.datasets.unusable_videos import check_videos_exist
from slowfast.datasets.video_dataset import Item, VideoDataset, ViewDataset
from slowfast.errors import ConfigError, check_positive
from slowfast.timing.stage_times import COLLATING, StageTimes, measure, take_times


class Step(tuple[Batch, ...]):
    """The batches of one step of a loader: one, or one for each shape of clips."""

    def pin_memory(self) -> Step:
        """Returns the batches with their tensors in pinned memory."""
        return Step(batch.pin_memory() for batch in self)


def collate(items: Sequence[Item], *, several_sizes: bool = False, by_length: bool = False) -> Step:
    """Returns the clips among ``items``, all of one type, in one batch, or one for each size of frames.

    Broken videos, those for which clips were substituted included, are listed in ``broken`` of the last
    batch. A batch without a clip has B = 0.

    Args:
        several_sizes: True: clips whose frames differ in size are in different batches.
        by_length: with ``several_sizes``, clips of different lengths are in different batches, too.

    Raises:
        DataError: where the frames of two clips of a batch differ in size.
    """
    clips = [item for item in items if not isinstance(item, BrokenVideo | StreamedClip)]
    broken = [item for item in items if isinstance(item, BrokenVideo)]
    broken += [video for clip in clips for video in clip.broken]
    streamed = tuple(item for item in items if isinstance(item, StreamedClip))
    groups: dict[tuple[int, ...], list[ReadClip]] = {}
    for clip in clips:
        shape = clip.shape if by_length else clip.shape[1:]
        groups.setdefault(shape if several_sizes else (), []).append(clip)
    *others, last = (group[0].collate(group) for group in groups.values()) if clips else [Clip.collate([])]
    last = replace(last, broken=tuple(broken), streamed=streamed)
    return Step([*(replace(batch, is_continued=True) for batch in others), last])


class BatchSampler(Protocol):
    """The items of each batch; see :mod:`slowfast.datasets.loading.samplers`."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Sequence[Any]]: ...


class ClipLoader(Iterable[Batch]):
    """The batches of one process, built in worker processes that may hang or die (:class:`WorkerPool`).

    Args:
        batch_sampler: yields the items of each batch; each iteration of the loader iterates it once.
        num_workers: 0: batches are built in this process, and a video that hangs or crashes its decoder
            hangs or crashes this process.
        sample_timeout, pin_memory: see :class:`WorkerPool`.
        several_sizes, by_length: see :func:`collate`; the length of the loader counts the lists of items.

    Attributes:
        num_workers: as given.
    """

    def __init__(
        self,
        dataset: ViewDataset,
        batch_sampler: BatchSampler,
        *,
        num_workers: int = 0,
        sample_timeout: float = 0.0,
        pin_memory: bool = False,
        several_sizes: bool = False,
        by_length: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self._collate = functools.partial(collate, several_sizes=several_sizes, by_length=by_length)
        self._pin_memory = pin_memory
        self.num_workers = num_workers
        self._own_times = StageTimes()
        self._pool: WorkerPool | None = None
        if num_workers > 0:
            self._pool = WorkerPool(
                dataset,
                self._collate,
                num_workers=num_workers,
                sample_timeout=sample_timeout,
                pin_memory=pin_memory,
            )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    @property
    def times(self) -> StageTimes:
        """Seconds spent on all batches so far, summed over the workers; for a rate, take differences."""
        return self._own_times if self._pool is None else self._pool.times

    def __iter__(self) -> Iterator[Batch]:
        if self._pool is not None:
            for step in self._pool.run(self.batch_sampler):
                yield from step
            return
        for items in self.batch_sampler:
            take_times()  # what this process did since the last batch is not loading
            clips = [self.dataset[item] for item in items]
            with measure(COLLATING):
                step = self._collate(clips)
                step = step.pin_memory() if self._pin_memory else step
            self._own_times += take_times()
            yield from step


def build_loader(
    cfg: CfgNode,
    dataset: ViewDataset,
    split: str,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    by_length: bool = False,
) -> ClipLoader:
    """Builds the loader of one process.

    Args:
        split: "train": each iteration yields the rest of the epoch from
            ``batch_sampler.set_position(epoch, step)`` on, in the order of ``DATA_LOADER.TRAIN_SAMPLER``; any
            other: each view once.
        batch_size: clips per batch of this process.
        rank, world_size: this process and the number of processes, over all nodes.
        pin_memory: True where batches are copied to a GPU.
        by_length: in evaluation, whether clips of different lengths are in different batches, for models that
            cannot leave out padded frames.

    Raises:
        ConfigError: where ``DATA_LOADER.TRAIN_SAMPLER`` is unknown or the batch cannot be divided.
        InputError: for a batch size that is not above 0.
        DataError: where none of the first hundred videos exists, or the training set has fewer videos than
            one batch.
    """
    check_positive(batch_size=batch_size)
    if isinstance(dataset, VideoDataset) and dataset.features is None and dataset.shards is None:
        check_videos_exist(dataset.paths)
    sampler: TrainingSampler | EvalSampler
    if split == "train":
        sampler = SAMPLER_REGISTRY.get(cfg.DATA_LOADER.TRAIN_SAMPLER)(
            dataset,
            batch_size * world_size,
            rank=rank,
            world_size=world_size,
            seed=cfg.RNG_SEED,
            repeats=clips_per_video(cfg),
        )
        if not isinstance(sampler, TrainSampler):
            _check_user_sampler(sampler, cfg.DATA_LOADER.TRAIN_SAMPLER, batch_size * clips_per_video(cfg))
    else:
        sampler = EvalSampler(
            dataset.num_videos, dataset.num_views, batch_size, rank=rank, world_size=world_size
        )
    return ClipLoader(
        dataset,
        sampler,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        sample_timeout=cfg.DATA_LOADER.SAMPLE_TIMEOUT,
        pin_memory=pin_memory and cfg.DATA_LOADER.PIN_MEMORY,
        several_sizes=split != "train",
        by_length=by_length,
    )


def _check_user_sampler(sampler: object, name: str, size: int) -> None:
    """Raises ConfigError where a sampler lacks a method, or its first or last batch is not as it must be."""
    problem = ""
    if not isinstance(sampler, TrainingSampler):
        problem = f"must have __len__, set_position and __iter__; {type(sampler).__name__} lacks one of them"
    else:
        sampler.set_position(0, 0)
        first: Any = next(iter(sampler), ())
        is_list = isinstance(first, Sequence) and len(first) == size
        if not is_list or not all(isinstance(ref, tuple) and len(ref) == 2 for ref in first):
            problem = (
                f"must yield lists of {size} SampleRef(epoch, index), the epoch of set_position, so that "
                f"each epoch has other crops; the first is {reprlib.repr(first)}"
            )
        elif steps := len(sampler):
            sampler.set_position(0, steps - 1)
            if len(list(islice(sampler, 2))) > 1:
                problem = f"must end after {steps} steps, as its len() states; it yields more per epoch"
    if problem:
        raise ConfigError(f"DATA_LOADER.TRAIN_SAMPLER = {name!r}: {problem}")


def construct_loader(
    cfg: CfgNode, split: str, *, position_rate: float | None = None, rank: int = 0, world_size: int = 1
) -> ClipLoader:
    """Builds the data set of a split and its loader, for scripts; named as in PySlowFast.

    The batches have ``TEST.BATCH_SIZE`` clips for "test", else ``TRAIN.BATCH_SIZE``, divided by
    ``world_size``.

    Args:
        cfg: as returned by ``slowfast.config.load_config``. Where a crop size is 0 or an interpolation is
            "backbone", it must be resolved by ``slowfast.models.frame_format.adopt_frame_format``.
        split: "train", "val" or "test".
        position_rate: the model's; None: positions are frame indices.
        rank, world_size: this process and the number of processes.

    Raises:
        SlowFastError: as :func:`slowfast.datasets.build.build_dataset` and :func:`build_loader`.
    """
    dataset = build_dataset(cfg, split, position_rate=position_rate)
    batch_size = cfg[split_section(split)].BATCH_SIZE // world_size
    return build_loader(cfg, dataset, split, batch_size=batch_size, rank=rank, world_size=world_size)
