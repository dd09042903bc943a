"""The paths and the order of the videos in shards, in memory that worker processes share.

N rows, S shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.annotations import PathTable
from slowfast.datasets.shards.rows import Row
from slowfast.video.archive.member import TarMember


class MemberPaths(PathTable):
    """A table of members of archives, one per row; see :class:`slowfast.datasets.annotations.PathTable`."""

    archives: tuple[str, ...]
    _archive: Tensor  # (N,) int32, index into ``archives``
    _ranges: Tensor  # (N, 2) int64, first byte and number of bytes
    _originals: PathTable

    @classmethod
    def from_rows(cls, shards: Sequence[str], rows: Sequence[Sequence[Row]]) -> Self:
        """Returns the members of the rows of each shard."""
        pairs = [(shard, row) for shard, own in zip(shards, rows, strict=True) for row in own]
        table = cls.from_strings([TarMember.at(shard, *row[:3]) for shard, row in pairs])
        table.archives = tuple(shards)
        counts = torch.tensor([len(own) for own in rows])
        table._archive = torch.arange(len(shards), dtype=torch.int32).repeat_interleave(counts)
        table._ranges = torch.tensor([row[1:3] for _, row in pairs], dtype=torch.int64).reshape(-1, 2)
        table._originals = PathTable.from_strings([row.original for _, row in pairs])
        for tensor in (table._archive, table._ranges):
            tensor.share_memory_()
        return table

    def __getitem__(self, index: int) -> TarMember:  # type: ignore[override]
        member = TarMember(super().__getitem__(index))
        member.archive = self.archives[int(self._archive[index])]
        member.start, member.size = self._ranges[index].tolist()
        member.original = self._originals[index]
        return member


@dataclass(frozen=True)
class ShardGroups:
    """The group of each row; as :class:`slowfast.datasets.groups.GroupColumn`.

    Attributes:
        names: (N,) names.
    """

    names: PathTable

    def read(self) -> list[str]:
        """Returns the group of each video, in the order of the rows."""
        return list(self.names)


@dataclass(frozen=True)
class ShardOrder:
    """The shards of a data set, for an order of its rows that reads few shards at a time.

    Attributes:
        starts: (S + 1,) int64; shard s has the rows from ``starts[s]`` up to ``starts[s + 1]``.
        together: number of shards whose rows are shuffled together; 0: all.
    """

    starts: NDArray[np.int64]
    together: int

    def shuffle(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Returns all rows (N,): the shards in a random order, and the rows of each few of them shuffled."""
        shards = rng.permutation(len(self.starts) - 1)
        parts = []
        for first in range(0, len(shards), self.together):
            chosen = shards[first : first + self.together]
            rows = [np.arange(self.starts[shard], self.starts[shard + 1]) for shard in chosen]
            parts.append(rng.permutation(np.concatenate(rows)))
        return np.concatenate(parts)
