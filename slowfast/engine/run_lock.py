"""One run a folder: a second one started there by mistake stops before it harms the first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from slowfast.errors import SlowFastError
from slowfast.log import get_logger

logger = get_logger(__name__)


class FolderInUseError(SlowFastError):
    """Another run writes to this folder."""


@contextlib.contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Holds ``folder`` for this process while the block runs.

    The lock is the operating system's and ends with the process that holds it, however it ends, so that
    no stale one can remain. The file ``.run_lock`` says who holds it.

    Raises:
        FolderInUseError: naming host and process that hold it.
    """
    path = Path(folder) / ".run_lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file stays open for the whole block: closing it anywhere in this process would end the lock.
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise FolderInUseError(
                f"{folder}: another run is writing there ({file.read().strip()}); wait for it, end it, or "
                "choose another OUTPUT_DIR"
            ) from None
        except OSError as error:
            logger.warning("%s: this file system has no locks (%s); start no second run there", folder, error)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
        file.flush()
        yield
