"""The plan of shards: the videos of a list, in which order, and the archive of each."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from slowfast.datasets.shards.rows import CLASS_SUFFIX, JSON_SUFFIX
from slowfast.datasets.text_files import parse_index, parse_segment
from slowfast.datasets.video_folder import VIDEO_SUFFIXES
from slowfast.datasets.video_list import ListRow
from slowfast.errors import AnnotationError
from slowfast.preparation.lists import VideoList
from slowfast.preparation.report import BadFile
from slowfast.progress import Progress

_KEY_DIGITS = 6
# Files that are looked up at a time: a network file system takes long to answer and answers many at once.
_THREADS = 16
# Part of the hash of the settings: the content of shards changes with it.
_VERSION = 1


@dataclass(frozen=True)
class SourceVideo:
    """One file that becomes the video of a sample.

    Attributes:
        path: of the file.
        suffix: of the member, such as ``mp4``.
        size: bytes.
        changed: time of the last change, in nanoseconds.
        labels: content of the members with the labels, by suffix.
    """

    path: str
    suffix: str
    size: int
    changed: int
    labels: Mapping[str, bytes]

    @property
    def bytes_in_tar(self) -> int:
        """The bytes that the sample takes in an archive."""
        sizes = [self.size, *map(len, self.labels.values())]
        # Of each member: a block with its header, and its content rounded up to blocks.
        return sum((1 + -(-size // tarfile.BLOCKSIZE)) * tarfile.BLOCKSIZE for size in sizes)


@dataclass(frozen=True)
class PlannedShard:
    """One archive.

    Attributes:
        name: of the file.
        videos: key -> video, in the order of the archive.
    """

    name: str
    videos: Mapping[str, SourceVideo]


@dataclass(frozen=True)
class ShardPlan:
    """All archives of a list.

    Attributes:
        shards: in order.
        left_out: the files that are missing or cannot be used.
        settings: hash of all that decides the content of the archives.
    """

    shards: tuple[PlannedShard, ...]
    left_out: tuple[BadFile, ...]
    settings: str


def plan_shards(
    videos: VideoList, names: Mapping[str, str], *, shard_size: int, seed: int | None, refused: Iterable[str]
) -> ShardPlan:
    """Returns the plan of a list.

    Args:
        videos: with labels.
        names: path of each file -> its name in the data set, which its sample records.
        shard_size: bytes of an archive, which is exceeded only by a single larger video.
        seed: of the order; None: that of the list.
        refused: paths of files that are left out without a word, because they are reported elsewhere.

    Raises:
        AnnotationError: for the first label or segment that is not valid.
    """
    rows: dict[str, list[ListRow]] = {}
    for entry in videos.entries:
        rows.setdefault(entry.path, []).append(entry)
    for path in refused:
        rows.pop(path, None)
    labels = {path: _label_members(videos.source, names[path], own) for path, own in rows.items()}
    found: list[SourceVideo] = []
    left_out: list[BadFile] = []
    with ThreadPoolExecutor(_THREADS) as pool, Progress(len(rows), "files looked up", "video") as progress:
        for path, facts in zip(rows, pool.map(_look_up, rows), strict=True):
            if isinstance(facts, BadFile):
                left_out.append(facts)
            else:
                found.append(SourceVideo(path, _suffix(path)[1:], *facts, labels[path]))
            progress.update(1, left_out=len(left_out))
    if seed is not None:
        random.Random(seed).shuffle(found)
    return ShardPlan(tuple(_divide(found, shard_size)), tuple(left_out), _hash(found, names, shard_size))


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _look_up(path: str) -> tuple[int, int] | BadFile:
    """Returns bytes and time of the last change of a file, or why it cannot be used."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return BadFile(path, "missing")
    except (OSError, ValueError) as error:
        return BadFile(path, "unreadable", str(error))
    if not stat.S_ISREG(status.st_mode):
        return BadFile(path, "not a file")
    if status.st_size == 0:
        return BadFile(path, "empty")
    if (suffix := _suffix(path)) not in VIDEO_SUFFIXES:
        return BadFile(path, "unknown suffix", f"{suffix!r} must be that of a video, such as .mp4")
    return status.st_size, status.st_mtime_ns


def _divide(videos: Sequence[SourceVideo], shard_size: int) -> Iterable[PlannedShard]:
    digits = max(_KEY_DIGITS, len(str(len(videos) - 1)))
    shards: list[dict[str, SourceVideo]] = []
    # An archive ends with two empty blocks, and is filled up to a whole number of records.
    room = shard_size // tarfile.RECORDSIZE * tarfile.RECORDSIZE - 2 * tarfile.BLOCKSIZE
    filled = 0
    for number, video in enumerate(videos):
        if not shards or filled + video.bytes_in_tar > room:
            shards.append({})
            filled = 0
        shards[-1][f"{number:0{digits}d}"] = video
        filled += video.bytes_in_tar
    return [PlannedShard(f"shard-{i:06d}.tar", content) for i, content in enumerate(shards)]


def _label_members(source: str, name: str, rows: Sequence[ListRow]) -> dict[str, bytes]:
    """Returns the content of the members with the labels of a file, by suffix.

    A single class index of a full video is in ``.cls``, too, since other programs read that.
    """
    values = [_row_values(source, row) for row in rows]
    content = {"path": name, **(values[0] if len(values) == 1 else {"rows": values})}
    members = {JSON_SUFFIX: json.dumps(content, sort_keys=True).encode()}
    if len(values) == 1 and "label" in values[0] and "start" not in values[0]:
        members[CLASS_SUFFIX] = str(values[0]["label"]).encode()
    return dict(sorted(members.items()))


def _row_values(source: str, row: ListRow) -> dict[str, Any]:
    labels = [parse_index(cell) for cell in row.classes]
    if None in labels:
        raise AnnotationError(
            f"{source}: {row.text!r} has the label {row.label!r}, which must be a class index, or several "
            "joined by a comma"
        )
    values: dict[str, Any] = {"label": labels[0]} if len(labels) == 1 else {"labels": labels}
    if row.start:
        if (segment := parse_segment(row.start, row.end)) is None:
            raise AnnotationError(
                f"{source}: {row.text!r} has a wrong segment: start and end are seconds, 0 <= start < end"
            )
        values |= {"start": segment[0], "end": segment[1]}
    return values | ({"group": row.group} if row.group else {})


def _hash(videos: Sequence[SourceVideo], names: Mapping[str, str], shard_size: int) -> str:
    digest = hashlib.sha256(f"{_VERSION} {shard_size}".encode())
    for video in videos:
        facts = (names[video.path], video.suffix, video.size, video.changed, *sorted(video.labels.items()))
        digest.update(repr(facts).encode(errors="surrogateescape"))
    return digest.hexdigest()
