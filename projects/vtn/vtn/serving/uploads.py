"""Folders of requests: one folder per server, removed at its end, and after a crash by the next server."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from slowfast.errors import InputError

_PREFIX = "server-"


def default_base() -> Path:
    """Returns the folder of all servers of this user, in the system's folder of temporary files."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have a number alone
        user = str(os.getuid())
    return Path(tempfile.gettempdir(), f"vtn-serve-{user}")


class UploadFolder:
    """The folder of one server, with a folder per request in it.

    A lock, which the system frees when the process ends in any way, shows that the folder is in use.

    Args:
        base: folder of all servers of this user; created where it does not exist.

    Raises:
        InputError: for a base that another user could change.
    """

    def __init__(self, base: Path | None = None) -> None:
        base = default_base() if base is None else base
        _create_base(base)
        _remove_abandoned(base)
        self.path = base / f"{_PREFIX}{secrets.token_hex(8)}"
        self._lock = FileLock(_lock_path(self.path), thread_local=False)
        self._create()

    def _create(self) -> None:
        """Creates what is missing; also later, as systems remove old files and folders of temporary files."""
        _create_base(self.path.parent)
        if not _lock_path(self.path).exists():
            self._lock.release(force=True)  # of the file that was removed
            self._lock.acquire(timeout=0)  # first, so that another server never finds the folder without it
        self.path.mkdir(mode=0o700, exist_ok=True)
        self.worker_path.mkdir(mode=0o700, exist_ok=True)

    @property
    def worker_path(self) -> Path:
        """Folder for files that workers make outside a request."""
        return self.path / "workers"

    @contextmanager
    def request(self) -> Iterator[Path]:
        """Yields a new folder that is removed with its content at the end of the context."""
        self._create()
        with tempfile.TemporaryDirectory(
            prefix="request-", dir=self.path, ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        _lock_path(self.path).unlink(missing_ok=True)


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _create_base(base: Path) -> None:
    """Creates the folder of all servers; raises ``InputError`` where other users could change its files."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise InputError(f"{base}: must be a folder for temporary files; remove it, or give --folder")
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise InputError(
            f"{base}: other users can write into it; give --folder of a folder that only you can change"
        )


def _remove_abandoned(base: Path) -> None:
    """Removes the folders of servers that ended without removing them."""
    for folder in base.glob(f"{_PREFIX}*"):
        if not folder.is_dir():
            continue
        lock = FileLock(_lock_path(folder))
        with suppress(Timeout):
            lock.acquire(timeout=0)
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            _lock_path(folder).unlink(missing_ok=True)
