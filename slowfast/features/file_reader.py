"""A reader of views of videos as rows of features from the files of other programs, ``.npy`` and ``.npz``.

T rows of a file, n rows of a view, M tokens of a frame, F width of a feature. A row is (F,), or (M, F) for
several tokens per frame.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.views.view_reader import Scheme, Segment
from slowfast.errors import DecodeError
from slowfast.features.array_file import map_array
from slowfast.features.row_times import RowTimes, plan_rows
from slowfast.video.frame_times import FrameTimes, even_times

# A larger array is refused above _MOST_TIMES the bytes of its compressed form. Features hardly get
# smaller, but zeros do: a file of 10 MB would end a worker for lack of memory.
_FREE_BYTES, _MOST_TIMES = 1 << 28, 100

LAYOUTS = ("frames_first", "frames_last")
"""Layouts of the arrays of other programs, (T, F) or (F, T); arrays (T, M, F) have the frames first."""


@dataclass(frozen=True)
class FeatureFileReader:
    """A reader of views from files of other programs: ``.npy``, or ``.npz`` with ``features`` and ``times``.

    Times are seconds in the video, 0 or more, one per row; for ``NAME.npy`` they are in ``NAME.times.npy``.
    Where the first time is 0, times are starts: a row is valid from its own time to the time of the next row.
    Otherwise they are centres of the frames that a row was computed from, and a row is valid from half a step
    before its time. The first row is always valid from second 0. The frames of the source video are not
    known: positions that are frame indices for other readers are row numbers here.

    Attributes:
        scheme: chooses the rows of a view.
        position_rate: see :class:`slowfast.datasets.views.view_reader.ViewReader`.
        fps: rows per second in files without times; 0: not known.
        layout: one of ``LAYOUTS``.
        row_shape: (F,) or (M, F); None: any shape.
    """

    scheme: Scheme
    position_rate: float | None
    fps: float = 0.0
    layout: str = LAYOUTS[0]
    row_shape: tuple[int, ...] | None = None

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns features (n, F) or (n, M, F) and positions (n,) int64.

        Raises:
            DecodeError: where the file cannot be read or has another layout, then the message names the key,
                and where values of the view are not finite.
        """
        features, times = self.open(path)
        row_times = RowTimes(times, np.arange(times.num_frames))
        rows, positions = plan_rows(self.scheme, self.position_rate, row_times, path, view, rng, segment)
        native = features.dtype.newbyteorder("=")
        taken = np.ascontiguousarray(features[rows], native)  # of a mapped file, only these pages are read
        damaged = np.flatnonzero(~np.isfinite(taken.reshape(len(rows), -1)).all(axis=1))
        if len(damaged):  # one such video would cost the whole batch its step
            detail = f"NaN or infinite values in row {rows[damaged[0]]}; extract the features again"
            raise DecodeError(path, "damaged features", detail)
        return torch.from_numpy(taken), torch.from_numpy(positions)

    def read_all(self, path: str) -> tuple[Tensor, RowTimes]:
        """Returns all rows of a video, (T, F) or (T, M, F), and their times.

        Raises:
            DecodeError: as :meth:`read`.
        """
        features, times = self.open(path)
        native = features.astype(features.dtype.newbyteorder("="))  # a copy in any case
        return torch.from_numpy(native), RowTimes(times, np.arange(times.num_frames))

    def open(self, path: str) -> tuple[NDArray[Any], FrameTimes]:
        """Returns all features (T, F) or (T, M, F), memory-mapped where the file allows it, and their times.

        Raises:
            DecodeError: as :meth:`read`.
        """
        found = _find_file(path)
        if found.endswith(".npz"):
            features, seconds = read_npz(found)
        else:
            features = map_array(found, path)
            beside = f"{found.removesuffix('.npy')}.times.npy"
            seconds = map_array(beside, path) if os.path.isfile(beside) else None
        shape = features.shape
        if self.layout == "frames_last" and features.ndim == 2:
            features = features.T
        if features.ndim not in (2, 3) or not len(features):
            detail = (
                f"{found} has shape {shape}; must be rows of features, (frames, width) or (frames, "
                "tokens, width)"
            )
            raise DecodeError(path, "no features", detail)
        if features.dtype.kind != "f" or features.dtype.itemsize > 8:
            detail = f"{found} holds {features.dtype}; convert it to float16, float32 or float64"
            raise DecodeError(path, "no features", detail)
        if self.row_shape is not None and features.shape[1:] != self.row_shape:
            raise DecodeError(path, "wrong width", self._explain_width(found, features.shape))
        return features, self._times(path, seconds, len(features))

    def _explain_width(self, found: str, shape: tuple[int, ...]) -> str:
        if len(shape) == 3 or self.row_shape is None or len(self.row_shape) == 2:
            detail = f"{found} has rows of shape {shape[1:]}, and the model takes {self.row_shape}"
            return f"{detail}; build the model for features of that shape"
        (width,) = self.row_shape
        detail = f"{found} has rows of width {shape[1]}, and the model takes {width}"
        if shape[0] == width:
            other = next(layout for layout in LAYOUTS if layout != self.layout)
            return f"{detail}; set DATA.FEATURES_LAYOUT {other}"
        return f"{detail}; build the model for features of width {shape[1]}"

    def _times(self, path: str, seconds: NDArray[Any] | None, count: int) -> FrameTimes:
        if seconds is None:
            if not self.fps:
                detail = "the file has no times; set DATA.FEATURES_FPS to its rows per second"
                raise DecodeError(path, "no times", detail)
            return even_times(count, self.fps)
        if seconds.dtype.kind not in "fiu":
            raise DecodeError(path, "wrong times", f"times hold {seconds.dtype}; must be seconds, as float64")
        starts = np.array(seconds, np.float64)
        if starts.shape != (count,) or not np.isfinite(starts).all() or (np.diff(starts) <= 0).any():
            detail = f"{count} rows need as many ascending seconds; times have shape {starts.shape}"
            raise DecodeError(path, "wrong times", detail)
        if starts[0] < 0:
            detail = f"the first of its times is {starts[0]:g} s; must be 0 or more, seconds in the video"
            raise DecodeError(path, "wrong times", detail)
        step = float(np.median(np.diff(starts))) if count > 1 else 1 / (self.fps or 1.0)
        shift = min(float(starts[0]), step / 2)
        duration = float(starts[-1]) + step - shift
        starts -= shift
        starts[0] = 0.0
        return FrameTimes(starts, duration)


def _find_file(path: str) -> str:
    """Returns the feature file of an entry of the list, whose suffix may be missing.

    Raises:
        DecodeError: where the file does not exist.
    """
    for candidate in (path, f"{path}.npy", f"{path}.npz"):
        if candidate.endswith((".npy", ".npz")) and os.path.isfile(candidate):
            return candidate
    tried = path if path.endswith((".npy", ".npz")) else f"{path}.npy or .npz"
    raise DecodeError(path, "no features", f"there is no {tried}; check DATA.PATH_PREFIX")


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
            refuse_padding(file.zip)
            features, times = file["features"], file.get("times")
            # NumPy returns the bytes of an entry whose header is damaged.
            if isinstance(features, bytes) or isinstance(times, bytes):
                raise ValueError("an array has a damaged header")
            return features, times
    except DecodeError:
        raise
    except Exception as error:  # a damaged archive raises errors of several libraries
        raise DecodeError(path, "damaged features", f"{type(error).__name__}: {error}") from error


def refuse_padding(archive: zipfile.ZipFile) -> None:
    """Raises ``ValueError`` for an archive that unpacks to far more than its size."""
    for entry in archive.infolist():
        if entry.file_size > max(_FREE_BYTES, _MOST_TIMES * entry.compress_size):
            raise ValueError(
                f"{entry.filename} would unpack from {entry.compress_size:,} to {entry.file_size:,} bytes, "
                "mostly zeros; leave the padding out, or save it with numpy.savez"
            )
