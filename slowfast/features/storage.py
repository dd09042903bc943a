"""Features on the disk, written chunk by chunk, so that an interrupted extraction can continue.

``NAME.npy`` is an ordinary array (T, F) or (T, M, F) at every moment: rows are appended and flushed to the
disk before the header counts them. ``NAME.json`` beside it describes the features. ``NAME.npy.lock`` exists
while a process writes them.

``numpy.lib.format.open_memmap`` does not do this: it needs the number of rows in advance, and after a crash
the file has rows that were never written.

T frames, t frames of a chunk, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from slowfast.errors import DataError
from slowfast.features.array_file import read_header
from slowfast.files import atomic_write, hold_lock, read_json_object, write_text
from slowfast.log import get_logger

logger = get_logger(__name__)

STORED: Mapping[str, tuple[torch.dtype, np.dtype[Any]]] = {
    "float32": (torch.float32, np.dtype("<f4")),
    "float16": (torch.float16, np.dtype("<f2")),
    "bfloat16": (torch.bfloat16, np.dtype("<u2")),
}
"""Dtypes of features and of the ``.npy`` file that holds them. NumPy has no bfloat16: the file holds the bits
as unsigned integers of 16 bits, which ``torch.from_numpy(array).view(torch.bfloat16)`` turns back."""

# Seconds to wait for a lock; a process that has just finished may still hold it.
_LOCK_SECONDS = 0.2


def to_stored(features: Tensor, dtype: str) -> NDArray[Any]:
    """Turns features into the array that a file of that dtype (a key of ``STORED``) holds."""
    kind, stored = STORED[dtype]
    converted = features.detach().to("cpu", kind).contiguous()
    if dtype == "bfloat16":
        return converted.view(torch.uint16).numpy().astype(stored, copy=False)
    return converted.numpy().astype(stored, copy=False)


def from_stored(array: NDArray[Any], dtype: str) -> Tensor:
    """Turns the result of :func:`to_stored` back into features, without a copy."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


class FileInUseError(DataError):
    """A feature file that another process is writing."""


class FeatureFile:
    """A growing file of features; use it in a ``with`` statement.

    Existing features with the same description are kept and appended to. Features with another one are
    replaced, and the log states what differs. The replacement is a new file under the old name: arrays mapped
    from the old file stay valid.

    Args:
        path: path of the array; ``.npy`` is added where it has another suffix. Missing folders are created.
        row_shape: (F,) or (M, F).
        description: plain values that identify the features; existing ones are kept only where their
            description is equal.
        dtype: a key of ``STORED``.
        durable: flush the rows to the disk, so that they survive a crash of the computer; not needed in a
            folder of temporary files.

    Attributes:
        count: number of rows in the file.

    Raises:
        FileInUseError: where another process is writing the file.
        DataError: for a file that this class did not write.
    """

    def __init__(
        self,
        path: str | Path,
        row_shape: tuple[int, ...],
        description: Mapping[str, Any],
        dtype: str = "float32",
        *,
        durable: bool = True,
    ) -> None:
        self.path, self._json = feature_paths(path)
        self.dtype, self._durable = dtype, durable
        self._row_shape, self._stored = row_shape, STORED[dtype][1]
        self._row_bytes = math.prod(self._row_shape) * self._stored.itemsize
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()
        lock = Path(f"{os.path.realpath(self.path)}.lock")
        message = f"{self.path} is being written by another process; wait until it has finished"
        self._lock.enter_context(hold_lock(lock, _LOCK_SECONDS, FileInUseError(message)))
        try:
            self._refuse_foreign_files(description)
            self.count = self._count_rows()
            self._open(description)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        finally:  # it fails on a full disk, which may have room for the next file
            self._lock.close()

    def append(self, features: Tensor) -> None:
        """Adds features (t, F) or (t, M, F). When this returns they are on the disk."""
        rows = to_stored(features, self.dtype)
        self._file.seek(self._header_bytes + self.count * self._row_bytes)
        self._file.write(rows.tobytes())
        self._flush()
        self._write_header(self.count + len(rows))
        self.count += len(rows)

    def features(self) -> Tensor:
        """Returns all features so far, (T, F) or (T, M, F), memory-mapped: pages are read when needed."""
        if self.count == 0:
            return torch.zeros(0, *self._row_shape, dtype=STORED[self.dtype][0], device="cpu")
        # torch has no read-only tensors. With copy-on-write, writing to the tensor does not change the file.
        return from_stored(np.load(self.path, mmap_mode="c"), self.dtype)

    def keep(self, count: int) -> None:
        """Drops all rows after the first ``count``, which must exist."""
        if count != self.count:
            self._write_header(count)
            self.count = count

    def finish(self, path: Path, description: Mapping[str, Any]) -> None:
        """Renames the array to ``path`` and describes it there; nothing can be appended afterwards.

        Features that are already there are removed first, so that they never stand beside the new
        description. The array is renamed last, so that a file with the final name is complete. Until then the
        description also keeps its old name, by which the next call recognises the features.

        Args:
            description: of the complete features.
        """
        self._file.close()
        path.unlink(missing_ok=True)
        write_text(path.with_suffix(".json"), json.dumps(description, indent=2) + "\n")
        os.replace(self.path, path)
        self._json.unlink()

    def _refuse_foreign_files(self, description: Mapping[str, Any]) -> None:
        """Raises ``DataError`` where a file that this class did not write would be replaced."""
        if read_json_object(self._json).keys() >= description.keys():
            return
        has_content = self.path.exists() and self.path.stat().st_size > 0
        for path, exists in ((self.path, has_content), (self._json, self._json.exists())):
            if exists:
                raise DataError(
                    f"{path} was not written by this program; choose another path, or delete the file"
                )

    def _open(self, description: Mapping[str, Any]) -> None:
        """Opens the array for appending; the rows of another description are dropped."""
        difference = _difference(read_json_object(self._json), description) if self.count else ""
        if not self.count or difference:
            if difference:
                logger.warning("%s is replaced: %s", self.path, difference)
            self._start_empty(description)
            self.count = 0
        # Not "ab": that would append at the end, behind rows which the header does not count.
        self._file = self.path.open("r+b")
        try:
            self._write_header(self.count)
        except BaseException:
            self._file.close()
            raise

    def _start_empty(self, description: Mapping[str, Any]) -> None:
        """Creates an empty file and its description.

        After a crash at any point, no rows stand beside a description of other features.
        """
        if self.path.exists() and self.path.stat().st_size > 0:
            # Where the path is a link, the file itself is replaced; it may be on another disk.
            with atomic_write(os.path.realpath(self.path)) as temporary:
                temporary.touch()
        self.path.touch()
        text = json.dumps(description, indent=2) + "\n"
        if self._durable:
            write_text(self._json, text)
        else:
            self._json.write_text(text, encoding="utf-8")

    def _count_rows(self) -> int:
        """Returns the rows that are on the disk and counted by the header; 0 for a file of another form."""
        try:
            with self.path.open("rb", buffering=0) as file:
                header = read_header(file)
                file_bytes = os.fstat(file.fileno()).st_size
        except (FileNotFoundError, ValueError):
            return 0
        if header is None or header.fortran_order or header.dtype != self._stored:
            return 0
        if not header.shape or header.shape[1:] != self._row_shape:
            return 0
        return min(header.shape[0], (file_bytes - header.start) // self._row_bytes)

    def _write_header(self, count: int) -> None:
        """Writes the header of ``count`` rows; its length does not depend on ``count``."""
        self._file.seek(0)
        shape = (count, *self._row_shape)
        npy.write_array_header_1_0(
            self._file, {"descr": npy.dtype_to_descr(self._stored), "fortran_order": False, "shape": shape}
        )
        self._header_bytes = self._file.tell()
        self._flush()

    def _flush(self) -> None:
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())


def feature_paths(path: str | Path) -> tuple[Path, Path]:
    """Returns the paths of the array and of the description of the :class:`FeatureFile` at ``path``.

    >>> [found.name for found in feature_paths("features/video.fps5")]
    ['video.fps5.npy', 'video.fps5.json']
    """
    path = Path(path)
    array = path if path.suffix == ".npy" else path.with_name(f"{path.name}.npy")
    return array, array.with_suffix(".json")


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Returns what differs between two descriptions, in words; empty where they are equal."""
    if not found:
        return "the description is missing"
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name} was {found.get(name)} and is {wanted.get(name)}" for name in names)
