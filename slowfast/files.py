"""Writing files so that a crash never leaves half of one under its real name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY_MARK = ".writing-"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success its file takes the place of ``path``.

    The temporary file has the suffix of ``path`` (some writers go by it). It is flushed to the disk before
    it is renamed, and the folder after, so that after a power cut ``path`` is the old file or the new one.
    When the block raises, the temporary file is deleted and ``path`` stays as it was.

    Args:
        path: the file to write; its folder is made when it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}{TEMPORARY_MARK}{os.getpid()}{path.suffix}")
    try:
        yield temporary
        _flush_to_disk(temporary, os.O_RDWR)
        os.replace(temporary, path)
        _flush_to_disk(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file atomically; names of files that are no UTF-8 keep their bytes."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def delete_unfinished(folder: str | Path) -> None:
    """Deletes the temporary files that killed processes left in ``folder``."""
    for leftover in Path(folder).glob(f".*{TEMPORARY_MARK}*"):
        leftover.unlink(missing_ok=True)


def _flush_to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
