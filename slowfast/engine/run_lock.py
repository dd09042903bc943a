"""A lock on the output folder of a run, so that a second run started there stops before it changes a file."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from slowfast.errors import SlowFastError
from slowfast.files import write_text
from slowfast.log import get_logger

logger = get_logger(__name__)


class FolderInUseError(SlowFastError):
    """Another run writes to this folder."""


@contextlib.contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Locks ``folder`` for this process while the block runs.

    The operating system holds the lock of the file ``.run_lock`` and releases it when the process ends, in
    any way, so that no lock of a dead process can remain. The file ``.run_owner`` describes the process.

    Raises:
        FolderInUseError: if another run has locked the folder, with its host and process.
    """
    path = Path(folder) / ".run_lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    # In a second file, because opening a lock file truncates it.
    owner = path.with_name(".run_owner")
    # Each call has its own lock, so that a second run in the same process is refused as well.
    lock = FileLock(path, timeout=0, is_singleton=False)
    try:
        lock.acquire()
    except Timeout:
        raise FolderInUseError(
            f"{folder}: another run is writing there ({_read_owner(owner)}); wait for it, stop it, or choose "
            "another OUTPUT_DIR"
        ) from None
    except (NotImplementedError, OSError) as error:
        logger.warning("%s: its file system has no locks (%s); start only one run there", folder, error)
    try:
        write_text(owner, f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
        yield
    finally:
        lock.release()


def _read_owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return "it has just started"
