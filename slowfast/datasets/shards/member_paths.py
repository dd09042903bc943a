"""The paths and the order of the videos in shards, in memory that worker processes share.

N rows, S shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from slowfast.datasets.annotations import PathTable, encode_paths
from slowfast.datasets.shards.rows import Row
from slowfast.video.archive.member import TarMember, member_name


class MemberPaths(PathTable):
    """A table of members of archives, one per row; see :class:`slowfast.datasets.annotations.PathTable`.

    Args:
        shards: paths of the archives.
        rows: the rows of each archive.
    """

    def __init__(self, shards: Sequence[str], rows: Sequence[Sequence[Row]]) -> None:
        every = [row for own in rows for row in own]
        names = [
            member_name(shard, row.member) for shard, own in zip(shards, rows, strict=True) for row in own
        ]
        super().__init__(*encode_paths(names))
        self._archives = tuple(shards)
        counts = torch.tensor([len(own) for own in rows])
        # (N,) index of the archive; (N, 2) first byte and number of bytes.
        self._archive = torch.arange(len(shards), dtype=torch.int32).repeat_interleave(counts).share_memory_()
        ranges = torch.tensor([(row.start, row.size) for row in every], dtype=torch.int64)
        self._ranges = ranges.reshape(-1, 2).share_memory_()
        self._originals = PathTable.from_strings([row.original for row in every])

    def __getitem__(self, index: int) -> TarMember:  # type: ignore[override]
        archive, (start, size) = int(self._archive[index]), self._ranges[index].tolist()
        return self._member(super().__getitem__(index), archive, start, size, self._originals[index])

    def __iter__(self) -> Iterator[TarMember]:
        archives, ranges = self._archive.numpy(), self._ranges.numpy()
        texts = zip(super().__iter__(), self._originals, strict=True)
        for index, (name, original) in enumerate(texts):
            start, size = ranges[index].tolist()
            yield self._member(name, archives[index], start, size, original)

    def _member(self, name: str, archive: int, start: int, size: int, original: str) -> TarMember:
        member = TarMember(name)
        member.archive = self._archives[archive]
        member.start, member.size, member.original = start, size, original
        return member


@dataclass(frozen=True)
class ShardOrder:
    """The shards of a data set, for an order of its rows that reads few shards at a time.

    Attributes:
        starts: (S + 1,) int64; shard s has the rows from ``starts[s]`` up to ``starts[s + 1]``.
        together: number of shards whose rows are shuffled together; 0: all.
        twins: two members that are copies of files of one path, and this path; None for different paths.
    """

    starts: NDArray[np.int64]
    together: int
    twins: tuple[str, str, str] | None = None

    def shuffle(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Returns all rows (N,): the shards in a random order, and the rows of each few of them shuffled."""
        shards = rng.permutation(len(self.starts) - 1)
        parts = []
        for first in range(0, len(shards), self.together):
            chosen = shards[first : first + self.together]
            rows = [np.arange(self.starts[shard], self.starts[shard + 1]) for shard in chosen]
            parts.append(rng.permutation(np.concatenate(rows)))
        return np.concatenate(parts)
