"""A lock on the folder of shards, so that two calls do not delete each other's unfinished files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from slowfast.errors import DataError
from slowfast.files import hold_lock

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
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path, _LOCK_SECONDS))
        except Timeout as error:
            raise DataError(
                f"{folder}: another process is writing shards there; wait until it has finished, or choose "
                "another folder"
            ) from error
        yield
