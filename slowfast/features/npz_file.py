"""Features in the ``.npz`` files of other programs."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.errors import DecodeError

# An array of more bytes is refused if it is more than so many times its compressed size. Features hardly get
# smaller, but zeros do: a file of 10 MB would end a worker for lack of memory.
_FREE_BYTES, _MOST_TIMES = 1 << 28, 100


def read_npz(path: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Returns the arrays ``features`` and, where it exists, ``times``.

    Raises:
        DecodeError: where the file is damaged, has no features, or unpacks to far more than its size.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "features" not in file:
                detail = f"{path} has {', '.join(file.files) or 'nothing'}, but no array 'features'"
                raise DecodeError(path, "no features", detail)
            _refuse_padding(file.zip)
            return file["features"], file.get("times")
    except DecodeError:
        raise
    except Exception as error:  # a damaged archive raises errors of several libraries
        raise DecodeError(path, "damaged features", f"{type(error).__name__}: {error}") from error


def _refuse_padding(archive: zipfile.ZipFile) -> None:
    for entry in archive.infolist():
        if entry.file_size > max(_FREE_BYTES, _MOST_TIMES * entry.compress_size):
            raise ValueError(
                f"{entry.filename} would unpack from {entry.compress_size:,} to {entry.file_size:,} bytes, "
                "mostly zeros; leave the padding out, or save it with numpy.savez"
            )
