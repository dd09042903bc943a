"""The index of each shard: its rows, stored beside it as ``NAME.index.json``, so that no archive is scanned.

An index is used as long as the archive has the size and the time of change for which it was made. Otherwise
it is rebuilt, by one process while the others wait, and stored where the folder can be written to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from slowfast.datasets.shards.rows import Row, read_rows
from slowfast.errors import AnnotationError
from slowfast.files import write_text
from slowfast.log import get_logger
from slowfast.progress import Progress

_logger = get_logger(__name__)

# Version of the index; one of another version is rebuilt.
_FORMAT = 2
# Archives that are read at a time: a network file system takes long to answer and answers many at once.
_THREADS = 16
_LOCK = ".shards.index.lock"


def index_path(shard: str) -> str:
    """Returns the path of the index of a shard."""
    return f"{shard.removesuffix('.tar')}.index.json"


def load_rows(shards: Sequence[str]) -> list[list[Row]]:
    """Returns the rows of each shard, from the indices, or from the archives where an index is outdated.

    Raises:
        AnnotationError: for the first shard that cannot be read, see
            :func:`slowfast.datasets.shards.rows.read_rows`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(load_index, shards))
        stale = [number for number, rows in enumerate(found) if rows is None]
        if not stale:
            return [rows for rows in found if rows is not None]
        folders = sorted({os.path.dirname(shards[number]) for number in stale})
        with _locked(folders), Progress(len(stale), "shards indexed", "shard") as progress:
            _logger.info("shards: %d of %d have no valid index, which is made now", len(stale), len(shards))
            for number, rows in zip(stale, pool.map(update_index, [shards[n] for n in stale]), strict=True):
                found[number] = rows
                progress.update()
    return [rows for rows in found if rows is not None]


def load_index(shard: str) -> list[Row] | None:
    """Returns the rows in the index of a shard; None where it is missing, damaged or outdated.

    Raises:
        AnnotationError: where the shard itself is missing.
    """
    bytes_and_time = _describe(shard)
    try:
        with open(index_path(shard), encoding="utf-8") as file:
            content: dict[str, Any] = json.load(file)
        if content["format"] != _FORMAT or content["shard"] != bytes_and_time:
            return None
        return [_checked(row, bytes_and_time[0]) for row in content["rows"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _logger.warning("%s: is damaged (%s: %s)", index_path(shard), type(error).__name__, error)
        return None


def update_index(shard: str) -> list[Row]:
    """Returns the rows of a shard and stores its index, unless it is valid already.

    Raises:
        AnnotationError: where the shard cannot be read.
    """
    if (known := load_index(shard)) is not None:  # made by another process in the meantime
        return known
    bytes_and_time = _describe(shard)
    rows = read_rows(shard)
    content = {"format": _FORMAT, "shard": bytes_and_time, "rows": rows}
    try:
        write_text(index_path(shard), json.dumps(content, separators=(",", ":")) + "\n")
    except OSError as error:
        _logger.warning(
            "%s: cannot be stored (%s), so that each run scans the shard again", index_path(shard), error
        )
    return rows


def _describe(shard: str) -> list[int]:
    """Returns bytes and time of change, in nanoseconds."""
    try:
        status = os.stat(shard)
    except OSError as error:
        raise AnnotationError(
            f"{shard}: cannot be read ({error.strerror}); check DATA.PATH_TO_DATA_DIR"
        ) from error
    return [status.st_size, status.st_mtime_ns]


def _checked(values: list[Any], shard_bytes: int) -> Row:
    """Returns a row of an index.

    Raises:
        ValueError, TypeError: where it is not one.
    """
    member, start, size, labels, original, segment, group = values
    texts = isinstance(member, str) and isinstance(original, str) and isinstance(group, str)
    numbers = all(type(value) is int for value in (start, size, *labels))
    if not (texts and numbers and labels) or not 0 <= start <= start + size <= shard_bytes:
        raise ValueError(f"the row {values!r} is not valid")
    if segment is not None:
        segment = (float(segment[0]), float(segment[1]))
    return Row(member, start, size, tuple(labels), original, segment, group)


@contextmanager
def _locked(folders: Sequence[str]) -> Iterator[None]:
    """Keeps other processes from scanning the same shards.

    Without effect in folders that are read-only or that have no locks, where each process scans for itself.
    """
    with ExitStack() as stack:
        for folder in folders:
            path = os.path.join(folder, _LOCK)
            # A process that gets the lock of a deleted file scans once more, which does no harm.
            with suppress(OSError, NotImplementedError):
                lock = FileLock(path)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    _logger.info("shards: another process indexes those in %s; waiting for it", folder)
                    lock.acquire()
                stack.callback(lock.release)
                stack.callback(Path(path).unlink, missing_ok=True)
        yield
