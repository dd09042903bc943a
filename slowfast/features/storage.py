"""Features on the disk, written as they come, so that a stopped extraction can go on.

``NAME.npy`` is an ordinary array (T, F) at every moment: rows are appended and flushed to the disk before
its header counts them. ``NAME.json`` beside it says what they are the features of. T frames, F width of a
feature.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from slowfast.errors import DataError
from slowfast.files import atomic_write, write_text
from slowfast.log import get_logger

logger = get_logger(__name__)

STORED: Mapping[str, tuple[torch.dtype, np.dtype[Any]]] = MappingProxyType(
    {
        "float32": (torch.float32, np.dtype("<f4")),
        "float16": (torch.float16, np.dtype("<f2")),
        "bfloat16": (torch.bfloat16, np.dtype("<u2")),
    }
)
"""Number types of features and what they are in a ``.npy`` file. NumPy has no bfloat16: its 16 bits stand
there as unsigned integers, which ``torch.from_numpy(array).view(torch.bfloat16)`` turns back."""


def to_stored(features: Tensor, dtype: str) -> NDArray[Any]:
    """Turns features into the array that a file of that number type (a key of ``STORED``) holds."""
    kind, stored = STORED[dtype]
    converted = features.detach().to("cpu", kind).contiguous()
    if dtype == "bfloat16":
        return converted.view(torch.uint16).numpy().astype(stored, copy=False)
    return converted.numpy().astype(stored, copy=False)


def from_stored(array: NDArray[Any], dtype: str) -> Tensor:
    """Turns what :func:`to_stored` gave back into features, without a copy."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


class FeatureFile:
    """A growing file of features; use it in a ``with`` statement.

    What is there of the same description is kept and appended to; what is of another is written anew, and the
    log says what differs. Then the file is a new one under the old name: what earlier results map stays.

    Args:
        path: of the file; ``.npy`` is added where it does not end so. Its folder is made when it is missing.
        feature_dim: F.
        description: plain values that say what the features are of; those of a stopped run are taken over
            only where theirs are equal.
        dtype: number type, a key of ``STORED``.

    Raises:
        DataError: when another process is writing the file, and for files that are not of this class.
    """

    def __init__(
        self, path: str | Path, feature_dim: int, description: Mapping[str, Any], dtype: str = "float32"
    ) -> None:
        self.path, self._json = feature_paths(path)
        self._feature_dim = feature_dim
        self._dtype, self._stored = dtype, STORED[dtype][1]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._refuse_others(description)
        self._file = self._open_locked()
        try:
            self.count = self._begin(dict(description))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, features: Tensor) -> None:
        """Adds features (t, F). When this returns they are on the disk."""
        rows = to_stored(features, self._dtype)
        self._file.seek(self._header_bytes + self.count * self._row_bytes)
        self._file.write(rows.tobytes())
        self._flush()
        self._write_header(self.count + len(rows))
        self.count += len(rows)

    def features(self) -> Tensor:
        """All features so far (T, F), memory-mapped: pages are read when they are needed."""
        if self.count == 0:
            return torch.zeros(0, self._feature_dim, dtype=STORED[self._dtype][0])
        # Copy on write, since torch has no tensors that are only for reading. Nobody writes.
        return from_stored(np.load(self.path, mmap_mode="c"), self._dtype)

    def keep(self, count: int) -> None:
        """Forgets all rows but the first ``count``, which are there."""
        self._write_header(count)
        self.count = count

    def finish(self, path: Path) -> None:
        """Gives the file and its description their final name, ``path`` being that of the ``.npy``.

        The array is renamed last, so that what has the final name is complete. Until then it keeps its
        description, without which the next call would not know it.
        """
        write_text(path.with_suffix(".json"), self._json.read_text(encoding="utf-8"))
        os.replace(self.path, path)
        self._json.unlink()

    def _refuse_others(self, description: Mapping[str, Any]) -> None:
        """Raises ``DataError`` where a file that is not of this class would be overwritten."""
        # In this order: whoever writes the file at this moment puts the description there before the rows.
        holds_bytes = self.path.exists() and self.path.stat().st_size > 0
        found = _read_json(self._json)
        if isinstance(found, dict) and found.keys() >= description.keys():
            return
        for path, kind, there in (
            (self.path, "feature file", holds_bytes),
            (self._json, "description", self._json.exists()),
        ):
            if there:
                raise DataError(f"{path} is no {kind} of ours; name another, or delete it")

    def _open_locked(self) -> BinaryIO:
        """Opens the file, or makes it, and keeps all others from writing it."""
        while True:
            file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.close()
                raise DataError(
                    f"{self.path} is being written by another process; wait for its end"
                ) from error
            # Before it was locked another process may have put a new file there, and this one is lost.
            if _lies_at(file, self.path):
                return file
            file.close()

    def _replace(self) -> None:
        """Puts an empty file, locked already, in the place of the present one, which may still be mapped."""
        # The file itself where the path is a link, which may lead to another disk.
        with self._file, atomic_write(os.path.realpath(self.path)) as temporary:
            self._file = os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), "r+b")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def _begin(self, description: dict[str, Any]) -> int:
        """Returns how many frames can be taken over; makes an empty file where none can."""
        present = self._read_count()
        if present:
            difference = _difference(_read_json(self._json), description)
            if not difference:
                self._write_header(present)
                return present
            logger.warning("%s is written anew: %s", self.path, difference)
        # In this order a crash never leaves rows beside a description that is not theirs.
        if os.fstat(self._file.fileno()).st_size:
            self._replace()
        write_text(self._json, json.dumps(description, indent=2) + "\n")
        self._write_header(0)
        return 0

    def _read_count(self) -> int:
        """Whole rows that are on the disk and counted by the header; 0 for whatever is no file of ours."""
        self._file.seek(0)
        try:
            version = npy.read_magic(self._file)
            shape, fortran_order, dtype = npy.read_array_header_1_0(self._file)
        except (ValueError, EOFError):
            return 0
        if version != (1, 0) or fortran_order or dtype != self._stored or shape[1:] != (self._feature_dim,):
            return 0
        self._header_bytes = self._file.tell()
        on_disk = os.fstat(self._file.fileno()).st_size - self._header_bytes
        return min(shape[0], on_disk // self._row_bytes)

    def _write_header(self, count: int) -> None:
        """Writes the header, which has the same length for any count."""
        self._file.seek(0)
        shape = (count, self._feature_dim)
        npy.write_array_header_1_0(
            self._file, {"descr": npy.dtype_to_descr(self._stored), "fortran_order": False, "shape": shape}
        )
        self._header_bytes = self._file.tell()
        self._flush()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def _row_bytes(self) -> int:
        return self._feature_dim * self._stored.itemsize


def feature_paths(path: str | Path) -> tuple[Path, Path]:
    """The array and the description of the :class:`FeatureFile` that ``path`` names."""
    path = Path(path)
    # Added, as film.fps1 and film.fps5 are two files.
    array = path if path.suffix == ".npy" else path.with_name(f"{path.name}.npy")
    return array, array.with_suffix(".json")


def describe_file(path: str | Path) -> dict[str, Any]:
    """What tells a file from a changed one without reading it: name, bytes, time of the last change."""
    status = os.stat(path)
    return {"name": Path(path).name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _lies_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one that the path leads to now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    """What differs between two descriptions, in words; empty where nothing does."""
    if not isinstance(found, dict):
        return "it lacks its description"
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name} was {found.get(name)} and is {wanted.get(name)}" for name in names)
