"""The order of samples over the epochs and processes of a run: pure functions of seed and progress.

torch's ``DistributedSampler`` cannot start in the middle of an epoch, repeats samples to fill the last batch,
and its order depends on the number of processes.

This module imports no torch, so that the check of a configuration can read the registry's names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from slowfast.errors import ConfigError, DataError, counted
from slowfast.registry import Registry

if TYPE_CHECKING:
    from slowfast.datasets.shards.member_paths import ShardOrder
    from slowfast.datasets.video_dataset import ViewDataset


# Added to the epoch of a sample for each further occurrence in an epoch, so that its clip differs.
_AGAIN = 1 << 32


class SampleRef(NamedTuple):
    """One training sample. Everything random in a sample is a function of it and of the run's seed."""

    epoch: int
    index: int  # type: ignore[assignment]


@runtime_checkable
class TrainingSampler(Protocol):
    """The batches of one process in training; see :data:`SAMPLER_REGISTRY` for how to add one."""

    def __len__(self) -> int:
        """Returns the number of steps of a full epoch; the same on every process."""
        ...

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Makes the next iteration start at ``step`` of ``epoch``; both count from 0."""
        ...

    def __iter__(self) -> Iterator[list[SampleRef]]:
        """Yields the samples of each remaining step of the epoch, of this process alone."""
        ...


SAMPLER_REGISTRY: Registry[Callable[..., TrainingSampler]] = Registry(
    "sampler of training samples",
    "DATA_LOADER.TRAIN_SAMPLER",
    arguments=("dataset", "global_batch", "rank=", "world_size=", "seed=", "repeats="),
)
"""Builders of training samplers: a class or function that is called as

``build(dataset, global_batch, rank=0, world_size=1, seed=0, repeats=1) -> TrainingSampler``

- ``dataset``: the training set; ``len(dataset)``, ``dataset.labels`` and ``dataset.paths`` describe it, and
  ``dataset.shards`` the archives that contain its videos (None for files).
- ``global_batch``: videos per step over all processes, a multiple of ``world_size``.
- ``rank``, ``world_size``: this process and the number of processes. A process must yield its own
  ``global_batch / world_size`` videos of each step, and every process the same number of steps.
- ``seed``: of the order. The order must be a function of ``seed``, ``epoch`` and ``step`` alone: a resumed
  run calls ``set_position(epoch, step)`` and must get the batches that the first run would have had.
- ``repeats``: clips of each video per step (``AUG.NUM_SAMPLE``); clip r of a video in epoch e is
  ``SampleRef(e * repeats + r, index)``.

A file named in ``IMPORTS`` registers its own with ``@SAMPLER_REGISTRY.register("name")``.
"""


class TrainSampler:
    """The batches of one process in training: each epoch is another permutation of all samples.

    The samples of a step do not depend on the number of processes; each process takes an equal part of them.
    Every sample occurs at most once per epoch; the last, incomplete step is left out.

    An iteration yields the rest of the current epoch from the current step on. Only :meth:`set_position`
    changes epoch and step.

    Example:
        >>> sampler = TrainSampler(num_samples=6, global_batch=4, rank=1, world_size=2, seed=0)
        >>> len(sampler)
        1
        >>> sampler.set_position(epoch=3)
        >>> [[ref.epoch for ref in batch] for batch in sampler]
        [[3, 3]]

    Args:
        num_samples: samples of the data set.
        global_batch: samples per step over all processes; a multiple of ``world_size``.
        rank, world_size: this process and the number of processes.
        seed: of the order.
        repeats: R, clips of each video per step, which then has R times as many clips (repeated
            augmentation, Hoffer et al., 2020). Clip r of epoch e is drawn as that of epoch ``e × R + r``. Two
            neighbouring videos are repeated together, so that neighbouring clips are of different videos.

    Attributes:
        global_batch: as given.

    Raises:
        ConfigError: where the batch cannot be divided among the processes.
        DataError: where the data set has fewer samples than one batch.
    """

    def __init__(
        self,
        num_samples: int,
        global_batch: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        repeats: int = 1,
    ) -> None:
        if global_batch % world_size:
            raise ConfigError(
                f"TRAIN.BATCH_SIZE: a global batch of {global_batch} must be divisible by the {world_size} "
                "processes; choose a multiple"
            )
        if num_samples < global_batch:
            raise DataError(
                f"the training set has {counted(num_samples, 'video')}, fewer than one batch of "
                f"{global_batch}; make TRAIN.BATCH_SIZE smaller"
            )
        self._num_samples = num_samples
        self.global_batch = global_batch
        self._rank = rank
        self._batch = global_batch // world_size
        self._seed = seed
        self._repeats = repeats
        self._epoch = 0
        self._step = 0

    def __len__(self) -> int:
        """Returns the number of steps of a full epoch."""
        return self._num_samples // self.global_batch

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Makes the next iteration start at ``step`` of ``epoch``; both count from 0."""
        self._epoch, self._step = epoch, step

    def __iter__(self) -> Iterator[list[SampleRef]]:
        epoch = self._epoch
        order = self._order(epoch)
        for step in range(self._step, len(self)):
            start = step * self.global_batch + self._rank * self._batch
            entries = order[start : start + self._batch].tolist()
            yield [
                self._sample(epoch, repeat, entry)
                for pair in range(0, self._batch, 2)
                for repeat in range(self._repeats)
                for entry in entries[pair : pair + 2]
            ]

    def _sample(self, epoch: int, repeat: int, entry: int) -> SampleRef:
        """Returns clip ``repeat`` of an entry of :meth:`_order`."""
        occurrence, sample = divmod(entry, self._num_samples)
        return SampleRef(epoch * self._repeats + repeat + _AGAIN * occurrence, sample)

    def _order(self, epoch: int) -> np.ndarray:
        """Returns one entry per sample of an epoch in their order, (N,) int64.

        The entry of sample i is ``i``, and that of its k-th further occurrence ``i + k × N``, whose clip
        differs.
        """
        return np.random.default_rng((self._seed, epoch)).permutation(self._num_samples)


class ClassSampler(TrainSampler):
    """A training sampler in which class c has a part of the epoch in proportion to n(c) ** ``power``.

    n(c) is the number of samples of the class. An epoch has as many samples as the data set. A class gets its
    part rounded down or up, the remaining samples go to the classes of the largest remainders. Within a class
    every sample occurs equally often or once more; which ones occur once more is drawn in each epoch.

    Args:
        labels: (N,) class index of each sample.
        power: 1: each sample once, as :class:`TrainSampler`; 0: all classes equally often; 0.5: between both.
        others: see :class:`TrainSampler`.

    Raises:
        ConfigError: for samples with several labels, and as :class:`TrainSampler`.
    """

    def __init__(self, labels: np.ndarray, global_batch: int, *, power: float, **others: int) -> None:
        if labels.ndim != 1:
            raise ConfigError(
                "DATA_LOADER.TRAIN_SAMPLER: must be shuffle for videos of several classes, which cannot be "
                "drawn by class"
            )
        super().__init__(len(labels), global_batch, **others)
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        weights = np.array([len(members) for members in self._members], dtype=np.float64) ** power
        exact = len(labels) * weights / weights.sum()
        counts = np.floor(exact).astype(np.int64)
        # Stable, so that classes of equal remainders are taken in their order.
        largest = np.argsort(-(exact - counts), kind="stable")[: len(labels) - counts.sum()]
        counts[largest] += 1
        self._counts = counts

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, epoch))
        chosen = []
        for members, count in zip(self._members, self._counts.tolist(), strict=True):
            rounds = -(-count // len(members))
            passes = [rng.permutation(members) + k * self._num_samples for k in range(rounds)]
            chosen.append(np.concatenate([*passes, members[:0]])[:count])
        return rng.permutation(np.concatenate(chosen))


class ShardSampler(TrainSampler):
    """A training sampler that reads few shards at a time: videos are shuffled within a few of them.

    The shards come in another order in each epoch. Where all of them are shuffled together, the order is that
    of :class:`TrainSampler`.

    Args:
        shards: the shards of the data set.
        others: see :class:`TrainSampler`.
    """

    def __init__(self, shards: ShardOrder, global_batch: int, **others: int) -> None:
        super().__init__(int(shards.starts[-1]), global_batch, **others)
        self._shards = shards

    def _order(self, epoch: int) -> np.ndarray:
        if not 0 < self._shards.together < len(self._shards.starts) - 1:
            return super()._order(epoch)
        return self._shards.shuffle(np.random.default_rng((self._seed, epoch)))


def describe_left_out(sampler: object, num_samples: int) -> str:
    """Returns how many samples each epoch leaves out; empty where none, or where samples may be repeated."""
    if not isinstance(sampler, TrainSampler) or isinstance(sampler, ClassSampler):
        return ""
    if not (left_out := num_samples % sampler.global_batch):
        return ""
    return (
        f"{left_out} of {counted(num_samples, 'video')} {'is' if left_out == 1 else 'are'} left out of each "
        f"epoch, others each time: a last batch of fewer than {sampler.global_batch} is not used"
    )


@SAMPLER_REGISTRY.register("shuffle")
def _build_shuffle(dataset: ViewDataset, global_batch: int, **others: int) -> TrainSampler:
    if (shards := getattr(dataset, "shards", None)) is not None:  # a user's data set may lack it
        return ShardSampler(shards, global_batch, **others)
    return TrainSampler(len(dataset), global_batch, **others)


@SAMPLER_REGISTRY.register("balanced")
def _build_balanced(dataset: ViewDataset, global_batch: int, **others: int) -> ClassSampler:
    return ClassSampler(np.asarray(dataset.labels), global_batch, power=0.0, **others)


@SAMPLER_REGISTRY.register("square_root")
def _build_square_root(dataset: ViewDataset, global_batch: int, **others: int) -> ClassSampler:
    return ClassSampler(np.asarray(dataset.labels), global_batch, power=0.5, **others)


class EvalSampler:
    """The batches of one process in evaluation: each view exactly once over all processes, in order.

    Each process takes a range of consecutive videos with all of their views.

    Args:
        num_videos, num_views: of the data set; items are ``video × num_views + view``.
        batch_size: views per batch of this process.
        rank, world_size: this process and the number of processes.
    """

    def __init__(
        self, num_videos: int, num_views: int, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        first = num_videos * rank // world_size
        last = num_videos * (rank + 1) // world_size
        self._items = range(first * num_views, last * num_views)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Returns the number of batches."""
        return -(-len(self._items) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self._items), self._batch_size):
            yield list(self._items[start : start + self._batch_size])
