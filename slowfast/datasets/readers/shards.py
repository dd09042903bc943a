"""Shards of videos in the layout of WebDataset; :mod:`slowfast.datasets.shards.rows` describes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.annotations import Annotations, PathTable, pack_labels
from slowfast.datasets.readers.source import AnnotationSource
from slowfast.datasets.shards.find import find_shards
from slowfast.datasets.shards.index import load_rows
from slowfast.datasets.shards.member_paths import MemberPaths, ShardOrder
from slowfast.datasets.shards.rows import Row
from slowfast.errors import AnnotationError
from slowfast.video.archive.member import member_name

Member = tuple[str, Row]
"""A shard, and one of its rows."""


def read_shards(source: AnnotationSource) -> Annotations:
    """Reads the rows of the shards of a split; see :func:`slowfast.datasets.shards.find.find_shards`.

    Raises:
        AnnotationError: where shards are missing or damaged, and for the first row whose labels do not fit.
    """
    shards = find_shards(source.folder, source.split)
    rows = load_rows(shards)
    members = [(shard, row) for shard, own in zip(shards, rows, strict=True) for row in own]
    for shard, row in members:
        _check_labels(shard, row, source)
    if not members:
        raise AnnotationError(f"{source.folder}: the shards of the split {source.split!r} contain no video")
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Annotations(
        MemberPaths(shards, rows),
        *pack_labels([row.labels for _, row in members], several=source.multi_label),
        source.num_classes,
        _segments(members),
        groups=_groups(members),
        shards=ShardOrder(starts, source.shuffle_shards, _find_twins(members)),
    )


def _check_labels(shard: str, row: Row, source: AnnotationSource) -> None:
    name = member_name(shard, row.member)
    if any(not 0 <= label < source.num_classes for label in row.labels):
        raise AnnotationError(
            f"{name}: has the label {', '.join(map(str, row.labels))}, which must be 0 to "
            f"{source.num_classes - 1} (MODEL.NUM_CLASSES)"
        )
    if len(row.labels) > 1 and not source.multi_label:
        raise AnnotationError(f"{name}: has {len(row.labels)} labels; set DATA.MULTI_LABEL True")


def _find_twins(members: Sequence[Member]) -> tuple[str, str, str] | None:
    """Returns two members that are copies of files of one path, and this path; None for different paths."""
    first: dict[str, tuple[str, str]] = {}
    for shard, row in members:
        other = first.setdefault(row.original, (shard, row.member)) if row.original else None
        if other is not None and other != (shard, row.member):
            return member_name(*other), member_name(shard, row.member), row.original
    return None


def _groups(members: Sequence[Member]) -> PathTable | None:
    """Returns the group of each row; None where no row has one.

    A row without a group is in that of its file, as in lists: one group of all such rows would join videos
    that have nothing in common.
    """
    if not any(row.group for _, row in members):
        return None
    names = [row.group or row.original or member_name(shard, row.member) for shard, row in members]
    return PathTable.from_strings(names)


def _segments(members: Sequence[Member]) -> Tensor | None:
    """Returns (N, 2) float64; None where no row has a segment.

    Raises:
        AnnotationError: where only some rows have one.
    """
    without = [(shard, row) for shard, row in members if row.segment is None]
    if len(without) == len(members):
        return None
    if without:
        shard, row = without[0]
        raise AnnotationError(
            f"{member_name(shard, row.member)}: has no 'start' and 'end', but other videos have them; give "
            "them to all, or to none"
        )
    return torch.tensor([row.segment for _, row in members], dtype=torch.float64)
