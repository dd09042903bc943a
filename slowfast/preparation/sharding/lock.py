"""A lock on the folder of shards, so that two calls do not delete each other's unfinished files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from slowfast.errors import DataError
from slowfast.log import get_logger

_logger = get_logger(__name__)

_LOCK = ".sharding.lock"
# Seconds to wait; a call that has just finished may still hold it.
_LOCK_SECONDS = 0.2


@contextmanager
def lock_folder(folder: str) -> Iterator[None]:
    """Holds the lock of a folder, which is created where it is missing.

    Raises:
        DataError: where another process holds it.
    """
    path = Path(folder, _LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=_LOCK_SECONDS, is_singleton=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(
            f"{folder}: another process is writing shards there; wait until it has finished, or choose "
            "another folder"
        ) from error
    except NotImplementedError as error:
        _logger.warning("%s: its file system has no locks (%s); start one call there", folder, error)
    try:
        yield
    finally:
        # Deleted while it is held: a process that has opened the deleted file does not get the lock with it.
        path.unlink(missing_ok=True)
        lock.release()
