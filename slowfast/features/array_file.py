"""Rows of ``.npy`` files, read from the disk when they are needed.

Reading takes less time than mapping the file into memory, where the kernel handles a fault per page, and a
file that another program has shortened gives an error, not a signal that ends the process.
"""

from __future__ import annotations

import math
import mmap
import os
from functools import lru_cache
from io import BytesIO, FileIO
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from slowfast.errors import DecodeError, first_line

# Bytes of magic number, version and header length at the start of a .npy file.
_PREAMBLE = 10
# Only version 1.0 of the format has this preamble.
_VERSION_1 = b"\x93NUMPY\x01\x00"


class ArrayFile:
    """The array (T, …) of an open ``.npy`` file of version 1.0 in C order; use it in a ``with`` statement.

    Args:
        path: path of the file.
        video: path of the video, for messages.

    Attributes:
        shape: shape of the array.
        dtype: dtype of the file, in the file's byte order.

    Raises:
        DecodeError: where the file is missing, damaged, of another version or order, or holds objects.
    """

    def __init__(self, path: str, video: str) -> None:
        self._path, self._video = path, video
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 -- __exit__ closes it
        except FileNotFoundError as error:
            raise DecodeError(video, "no features", f"there is no {path}") from error
        try:
            header = _read_complete(self._file)
            if header is None or header.fortran_order or not header.shape:
                raise ValueError("it is not an array of rows in C order of version 1.0; extract it again")
            self.shape, _, self.dtype, self._start = header
        except (ValueError, EOFError) as error:
            self._file.close()
            raise self._damaged(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Returns rows (n, …) in native byte order; None: all rows.

        Raises:
            DecodeError: where the file ends before a row.
        """
        if rows is None:
            rows = np.arange(self.shape[0])
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        if found.nbytes:
            target = memoryview(found.reshape(-1).view(np.uint8).data)
            # Neighbouring rows are read at once.
            bounds = [0, *(np.flatnonzero(rows[1:] != rows[:-1] + 1) + 1).tolist(), len(rows)]
            for start, stop in pairwise(bounds):
                self._file.seek(self._start + int(rows[start]) * row_bytes)
                self._fill(target[start * row_bytes : stop * row_bytes])
        return found.astype(self.dtype.newbyteorder("="), copy=False)

    def _fill(self, target: memoryview) -> None:
        while len(target):
            count = self._file.readinto(target)  # at most 2 GiB per call on Linux
            if not count:
                raise self._damaged(f"it ends before its {self.shape[0]} rows; extract it again")
            target = target[count:]

    def _damaged(self, detail: str) -> DecodeError:
        return DecodeError(self._video, "damaged features", f"{self._path}: {detail}")


def read_array(path: str, video: str) -> NDArray[Any]:
    """Returns the whole array of a ``.npy`` file as :class:`ArrayFile` reads it."""
    with ArrayFile(path, video) as file:
        return file.read()


def map_array(path: str, video: str) -> NDArray[Any]:
    """Returns the memory-mapped array of a ``.npy`` file in any order of axes.

    ``numpy.load`` takes five times as long, mostly for parsing headers, which are the same for many files.

    Args:
        video: path of the video, for messages.

    Raises:
        DecodeError: where the file is missing or damaged.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            header = _read_complete(file)
            if header is None:
                found = np.load(path, mmap_mode="r", allow_pickle=False)
                if isinstance(found, np.lib.npyio.NpzFile):
                    raise ValueError("it is an archive of arrays; name it .npz")
                return found
            shape, fortran_order, dtype, start = header
            count = math.prod(shape)
            if count == 0:  # an empty range cannot be mapped
                return np.zeros(shape, dtype)
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        flat = np.frombuffer(memory, dtype, count, start)
        return flat.reshape(shape, order="F" if fortran_order else "C")
    except FileNotFoundError as error:
        raise DecodeError(video, "no features", f"there is no {path}") from error
    except (ValueError, EOFError) as error:
        raise DecodeError(video, "damaged features", f"{path}: {error}") from error


class Header(NamedTuple):
    """The header of a ``.npy`` file of version 1.0.

    Attributes:
        shape, dtype: of the array.
        fortran_order: whether the first axis is the one that changes fastest.
        start: first byte of the values.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int


def read_header(file: FileIO) -> Header | None:
    """Reads the header at the start of a file; returns None for another version than 1.0.

    Raises:
        ValueError: for a damaged header, and for an array of Python objects.
    """
    preamble = file.read(_PREAMBLE)
    if preamble[:8] != _VERSION_1:
        return None
    length = int.from_bytes(preamble[8:], "little")
    try:
        shape, fortran_order, dtype = _parse_header(preamble[8:] + file.read(length))
    except Exception as error:  # the parsers of Python and numpy have errors of their own for damaged text
        raise ValueError(f"its header cannot be read: {first_line(error)}") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if any(size < 0 for size in shape):
        raise ValueError(f"its header states the shape {shape}")
    return Header(tuple(map(int, shape)), fortran_order, dtype, _PREAMBLE + length)


def _read_complete(file: FileIO) -> Header | None:
    """Returns :func:`read_header`; raises ``ValueError`` also where the file ends before its last row."""
    header = read_header(file)
    if header is not None:
        values_end = header.start + math.prod(header.shape) * header.dtype.itemsize
        if os.fstat(file.fileno()).st_size < values_end:
            rows = header.shape[0] if header.shape else 1
            raise ValueError(f"it ends before its {rows} rows; extract it again")
    return header


@lru_cache(maxsize=1024)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Returns shape, Fortran order and dtype in a header of version 1.0, which includes its length."""
    return npy.read_array_header_1_0(BytesIO(header))
