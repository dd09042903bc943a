"""Checks of the output folder of a run before its first file: no other run uses it, all nodes share it."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from slowfast.distributed.deadline import Deadline
from slowfast.distributed.world import World
from slowfast.errors import ConfigError, SlowFastError
from slowfast.files import acquire_lock, delete_unfinished, write_text

# Seconds until a node surely sees a new file; network file systems remember for a while what a folder has.
SHARING_SECONDS = 60.0


class FolderInUseError(SlowFastError):
    """Another run writes to this folder."""


def claim_output_dir(folder: str, world: World, stack: contextlib.ExitStack) -> None:
    """Locks ``folder`` until ``stack`` ends, and checks that all ranks share it; all ranks must call it.

    Raises:
        FolderInUseError: on all ranks, if another run has locked the folder.
        ConfigError: see :func:`check_shared`.
    """
    failure: FolderInUseError | None = None
    if world.is_main:
        try:
            stack.enter_context(lock_folder(folder))
        except FolderInUseError as error:
            failure = error
        else:
            delete_unfinished(folder)  # such as predictions of a killed test
    failure = world.all_gather_objects(failure)[0]
    if failure is not None:
        raise failure
    check_shared(folder, world)


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
        acquire_lock(lock)
    except Timeout:
        raise FolderInUseError(
            f"{folder}: another run is writing there ({_read_owner(owner)}); wait for it, stop it, or choose "
            "another OUTPUT_DIR"
        ) from None
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


def check_shared(folder: str | Path, world: World) -> None:
    """Checks that all ranks see a file that rank 0 writes to ``folder``; all ranks must call it.

    Raises:
        ConfigError: on all ranks, with the folders of those that do not see it.
    """
    if world.size == 1:
        return
    with contextlib.ExitStack() as stack:
        name = ""
        if world.is_main:
            # A new name, so that no node remembers that the file was missing.
            name = stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, prefix=".shared-")).name
        path = Path(folder, Path(world.all_gather_objects(name)[0]).name)
        own = f"rank {world.rank}: {path.parent.absolute()} on {socket.gethostname()}"
        is_seen = any(path.exists() for _ in Deadline(SHARING_SECONDS).polls())
        others = [other for other in world.all_gather_objects("" if is_seen else own) if other]
    if others:
        raise ConfigError(
            f"OUTPUT_DIR = {folder}: must be a folder that all nodes share; the files that rank 0 writes "
            f"there are not in that of {', '.join(others[:4])}{' …' if others[4:] else ''}"
        )
