"""Files that survive crashes, none incomplete under its final name; locks; JSON that cannot be trusted."""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import logging
import multiprocessing.util
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.errors import one_of
from slowfast.log import get_logger, log_once

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = get_logger(__name__)

TEMPORARY_MARK = ".writing-"
FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
"""Of files of figures that commands can write."""
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of the errors of a disk without room."""
UNWRITABLE_DISK = FULL_DISK | {errno.EROFS}
"""Numbers of the errors of a disk without room, or that can only be read."""
LOST_DISK = UNWRITABLE_DISK | {
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EEXIST, errno.ENOTDIR),
}
"""Numbers of the errors of a folder that cannot be used any more: its disk is full or fails, the access has
ended, or a file has taken its place."""
# Levels of brackets in a JSON text. Programs follow them by recursion, which Python ends at 1,000 calls.
_MOST_LEVELS = 100
# Bytes of the longest name of a file on the usual file systems.
_MAX_NAME = 255
# Numbers of the errors of a folder in which no file can be created.
_NOT_WRITABLE = UNWRITABLE_DISK | {errno.EACCES, errno.EPERM}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success the temporary file replaces ``path``.

    The temporary file has the suffix of ``path``, since some writers choose the format by it. The file is
    flushed to the disk before it is renamed, and the folder afterwards, so that after a power failure
    ``path`` is either the old file or the new one. When the block raises, the temporary file is deleted and
    ``path`` is unchanged. A file that is replaced keeps its permissions, such as those of a group. Of a
    symbolic link the target is replaced, and the link stays. A device or a pipe, such as ``/dev/stdout``, is
    not replaced but written to: for it the yielded path is ``path`` itself.

    Args:
        path: the file to write; its folder is created where it is missing.
    """
    path = Path(path)
    if is_device(path):
        yield path
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path))
    try:
        with naming_file(path):
            yield temporary
            _flush_to_disk(temporary, os.O_RDWR)
            with suppress(OSError):  # where the file is new, or the file system has no permissions
                shutil.copymode(path, temporary)
            os.replace(temporary, path)
            _flush_to_disk(path.parent, os.O_RDONLY)
    finally:
        with suppress(OSError):  # where the disk is gone, that error is the one to report
            temporary.unlink(missing_ok=True)


def is_device(path: Path) -> bool:
    """Returns whether a path is that of a device or a pipe, perhaps by a link such as ``/dev/stdout``."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """Adds the file being written to an ``OSError`` that names none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # a library's text would be replaced by "[Errno None]"
            error.filename = error.filename or str(path)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file atomically; file names within the text that are not UTF-8 keep their bytes."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text from a file that cannot be trusted.

    Raises:
        ValueError: where it is not JSON, or nested so deeply that following it could exhaust the stack.
    """
    too_deep = ValueError(f"it is nested more than {_MOST_LEVELS} levels deep")
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep from None
    if isinstance(text, str) and text.count("[") + text.count("{") <= _MOST_LEVELS:
        return value
    level = [value]
    for _ in range(_MOST_LEVELS + 1):
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            return value
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    raise too_deep


def read_json_object(path: str | Path) -> dict[str, Any]:
    """Returns the object in a JSON file that cannot be trusted; an empty one for any other or no file."""
    try:
        value = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def output_file(*suffixes: str, standard_output: bool = False) -> Callable[[str], str]:
    """Returns the ``type`` of an option that names a file to write, which is checked before any work.

    Args:
        suffixes: those that the file may have; none: any.
        standard_output: whether ``-`` is accepted; the caller prints then. Empty text, no file, always is.
    """

    def output(text: str) -> str:
        path = Path(text)
        if not text or (text == "-" and standard_output):
            return text
        if not suffixes and is_device(path):
            return text
        if text == "-":
            raise argparse.ArgumentTypeError("-: is not printed here; name a file")
        if path.is_dir():
            name = f"result{suffixes[0] if suffixes else ''}"
            raise argparse.ArgumentTypeError(f"{text}: is a folder; name a file, such as {path / name}")
        if suffixes and path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"{text}: must end in {one_of(suffixes)}")
        folder = next((parent for parent in path.parents if parent.exists()), path.parent)
        if not folder.is_dir():
            raise argparse.ArgumentTypeError(f"{text}: {folder} is not a folder; choose another one")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise argparse.ArgumentTypeError(
                f"{text}: {folder} must not be written to; choose another folder, or change its permissions"
            )
        return text

    return output


def delete_unfinished(folder: str | Path, *, with_folders: bool = False) -> None:
    """Deletes the temporary files of killed processes in ``folder``.

    Args:
        with_folders: also in all folders below it.
    """
    pattern = f".*{TEMPORARY_MARK}*"
    for leftover in Path(folder).glob(f"**/{pattern}" if with_folders else pattern):
        leftover.unlink(missing_ok=True)


@contextmanager
def hold_lock(path: Path, seconds: float, in_use: Exception | None = None) -> Iterator[None]:
    """Holds the lock of a file while the block runs; the file is deleted at the end.

    See :func:`acquire_lock` for a file system without locks.

    Args:
        path: of the lock's file, whose folder must exist.
        seconds: to wait for another process that holds it.
        in_use: raised where another process holds it for longer; None: ``filelock.Timeout``.
    """
    from filelock import FileLock, Timeout  # here, so that `--help` stays fast

    lock = FileLock(path, timeout=seconds, is_singleton=False, thread_local=False)
    try:
        acquire_lock(lock)
    except Timeout as error:
        raise in_use or error from None
    try:
        yield
    finally:
        # Deleted while it is held: a process that has opened the deleted file does not get the lock with it.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def acquire_lock(lock: BaseFileLock) -> None:
    """Acquires a lock; on a file system without locks a warning is logged instead, once per folder.

    Where the file of the lock cannot be created, nothing is logged: writing to the folder fails for the same
    reason, such as a read-only disk, and that error says what matters.

    Raises:
        filelock.Timeout: where another process holds it.
    """
    from filelock import Timeout

    try:
        lock.acquire()
    except Timeout:
        raise
    except (NotImplementedError, OSError) as error:  # ENOLCK, ENOTSUP …: each file system has its own
        if getattr(error, "errno", None) in _NOT_WRITABLE and not os.path.exists(lock.lock_file):
            return
        folder = os.path.dirname(lock.lock_file)
        message = f"{folder}: cannot be locked ({error}); start one process there at a time"
        log_once(logger, message, logging.WARNING)


def share_temporary_folder() -> None:
    """Makes all processes that are started from now on use the temporary folder of this process.

    ``multiprocessing`` gives each process a folder for the sockets that tensors pass through, which only an
    orderly end removes: killed processes would leave theirs behind. The shared one ends with this process.
    """
    multiprocessing.util.get_temp_dir()


def _temporary_name(path: Path) -> str:
    """Returns the name of the temporary file; that of a long name has a hash in its place.

    It has a random part: processes of two nodes or containers that share the folder may have one number.
    """
    end = f"{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    stem = os.fsencode(path.stem)
    if 1 + len(stem) + len(os.fsencode(end)) > _MAX_NAME:
        return f".{hashlib.blake2b(stem, digest_size=16).hexdigest()}{end}"
    return f".{path.stem}{end}"


def _flush_to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
