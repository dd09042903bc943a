"""The order of samples, over epochs and over the processes of a run. Pure functions of seed and position."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from slowfast.datasets.clip import SampleRef
from slowfast.errors import ConfigError, DataError


class TrainSampler(Sampler[list[SampleRef]]):
    """Batches of one process in training: each epoch another permutation of all samples.

    The samples of a step do not depend on the number of processes, each of which takes an equal part of
    them. Every sample comes at most once an epoch; the last, incomplete step is left out.

    Iterating gives the rest of the current epoch from the current position on; the position itself is
    moved by :meth:`set_position` alone.

    Args:
        num_samples: of the data set.
        global_batch: samples of a step over all processes; a multiple of ``world_size``.
        rank, world_size: this process, and how many there are.
        seed: of the order.
        repeats: R clips of each video in a step, which then has R times as many (repeated augmentation,
            Hoffer et al., 2020). Clip r of epoch e is drawn as that of epoch ``e × R + r``; two neighbouring
            videos are repeated together, so that neighbouring clips are of different videos.
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
                f"a batch of {global_batch} is not divisible by {world_size} processes; choose a multiple"
            )
        if num_samples < global_batch:
            raise DataError(
                f"the training set has {num_samples} videos, fewer than one batch of {global_batch}; "
                "make TRAIN.BATCH_SIZE smaller"
            )
        self._num_samples = num_samples
        self._global_batch = global_batch
        self._rank = rank
        self._batch = global_batch // world_size
        self._seed = seed
        self._repeats = repeats
        self._epoch = 0
        self._step = 0

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return self._num_samples // self._global_batch

    def set_position(self, epoch: int, step: int = 0) -> None:
        """The next iteration begins at ``step`` of ``epoch`` (both from 0)."""
        self._epoch, self._step = epoch, step

    def __iter__(self) -> Iterator[list[SampleRef]]:
        epoch = self._epoch
        order = np.random.default_rng((self._seed, epoch)).permutation(self._num_samples)
        for step in range(self._step, len(self)):
            start = step * self._global_batch + self._rank * self._batch
            indices = order[start : start + self._batch].tolist()
            yield [
                SampleRef(epoch * self._repeats + repeat, index)
                for pair in range(0, self._batch, 2)
                for repeat in range(self._repeats)
                for index in indices[pair : pair + 2]
            ]


class EvalSampler(Sampler[list[int]]):
    """Batches of one process in evaluation: each view exactly once over all processes, in order.

    Each process takes a run of neighbouring videos with all of their views.

    Args:
        num_videos, num_views: of the data set; items are ``video × num_views + view``.
        batch_size: views of a batch of this process.
    """

    def __init__(
        self, num_videos: int, num_views: int, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        first = num_videos * rank // world_size
        last = num_videos * (rank + 1) // world_size
        self._items = range(first * num_views, last * num_views)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._items) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self._items), self._batch_size):
            yield list(self._items[start : start + self._batch_size])
