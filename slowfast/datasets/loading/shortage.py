"""Shortages of the system that end the passing of tensors between processes, as errors with a remedy."""

from __future__ import annotations

import errno
import tempfile

from slowfast.errors import DataError

_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


def find_shortage(error: BaseException) -> DataError | None:
    """Returns the error with a remedy for one of open files, shared memory or TMPDIR; else None.

    torch raises ``RuntimeError`` with the text of the system's error, and multiprocessing one about
    ``ancdata`` where a descriptor that was sent could not be opened.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number in _TOO_MANY_FILES or "ancdata" in text or "Too many open files" in text:
        return DataError(
            "a batch cannot pass from a worker of the loader to the main process, because too many files are "
            "open; allow more before the start with `ulimit -n 65536`, or set DATA_LOADER.NUM_WORKERS lower"
        )
    if number == errno.ENOSPC or "No space left on device" in text:
        return DataError(
            "a batch cannot pass from a worker of the loader to the main process, because the shared memory "
            "in /dev/shm is full; enlarge it (in Docker with --shm-size=16g or --ipc=host), or set "
            "DATA_LOADER.NUM_WORKERS or the batch size lower"
        )
    if "AF_UNIX path too long" in text:
        return DataError(
            "a batch cannot pass from a worker of the loader to the main process, because the path of the "
            f"temporary folder is too long for a socket: {tempfile.gettempdir()}; set TMPDIR to a shorter one"
        )
    return None
