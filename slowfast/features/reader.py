"""Readers of views of videos as rows of features, from a cache or from files of other programs.

T rows of a file, n rows of a view, M tokens of a frame, F width of a feature. A row is (F,), or (M, F) for
several tokens per frame.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.views.view_reader import Scheme, Segment, ViewReader
from slowfast.errors import DecodeError
from slowfast.features.array_file import ArrayFile, map_array, read_array
from slowfast.features.broken_list import find_failure
from slowfast.features.cache import MANIFEST, FeatureNames, Variant, features_path, times_path
from slowfast.features.npz_file import read_npz
from slowfast.features.row_times import RowTimes
from slowfast.features.source import find_change
from slowfast.features.storage import STORED, from_stored, read_description
from slowfast.video.frame_times import FrameTimes

# Videos that a process remembers as unchanged, in about 10 MB.
_MOST_REMEMBERED = 200_000

LAYOUTS = ("frames_first", "frames_last")
"""Layouts of the arrays of other programs, (T, F) or (F, T); arrays (T, M, F) have the frames first."""


@dataclass(frozen=True)
class CacheReader:
    """A reader of views from a feature cache (``slowfast.features.cache``).

    Attributes:
        scheme: chooses the frames of a view.
        position_rate: see :class:`slowfast.datasets.views.view_reader.ViewReader`.
        folder: folder of the cache.
        names: maps a video's path to its name in the cache.
        row_shape: (F,) or (M, F).
        dtype: dtype of the cache, a key of ``slowfast.features.storage.STORED``.
        variants: variants by the crop of a view; where a crop has several, one is drawn at random (training).
        settings: hash of the manifest, which the description of each video must have; empty: not checked.
    """

    scheme: Scheme
    position_rate: float | None
    folder: str
    names: FeatureNames
    row_shape: tuple[int, ...]
    dtype: str
    variants: Mapping[int, tuple[Variant, ...]]
    settings: str = ""
    _unchanged: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns features (n, F) or (n, M, F) and positions (n,) int64.

        They belong to the frames that a decoder would have read.

        Raises:
            DecodeError: where the features of the video are missing, incomplete or damaged, or were
                extracted before the video changed or with other settings.
        """
        row_times = self._row_times(path)
        rows, positions = plan_rows(self.scheme, self.position_rate, row_times, path, view, rng, segment)
        choice = self.variants[crop]
        variant = choice[int(rng.integers(len(choice)))] if len(choice) > 1 else choice[0]
        features = self._read(path, variant, row_times, rows)
        return from_stored(features, self.dtype), torch.from_numpy(positions)

    def read_all(self, path: str) -> tuple[Tensor, RowTimes]:
        """Returns all rows of a video, (T, F) or (T, M, F), of the first variant, and their times.

        Raises:
            DecodeError: as :meth:`read`.
        """
        row_times = self._row_times(path)
        return from_stored(self._read(path, self.variants[0][0], row_times), self.dtype), row_times

    def check_present(self, path: str) -> None:
        """Raises ``DecodeError`` or ``OSError`` for a video without features or with older ones."""
        times_path(self.folder, self.names(path)).stat()
        for variant in self.variants[0]:
            self.check_unchanged(path, variant)

    def check_unchanged(self, path: str, variant: Variant) -> None:
        """Raises ``DecodeError`` for features of another model, and of a video that has changed since.

        Looked up once per video and process, which reads two small entries of the file system. A video that
        is not there is not checked, and one that changes while the process runs may pass.
        """
        key = hash((path, variant.name))
        if key in self._unchanged:
            return
        description = features_path(self.folder, variant, self.names(path)).with_suffix(".json")
        found = read_description(description)
        found = found if isinstance(found, dict) else {}
        if self.settings and found.get("settings", self.settings) != self.settings:
            # As where a cache was copied into the folder of another one, and not to the end.
            detail = f"of other weights or settings than {MANIFEST} states; run `slowfast extract` again"
            raise DecodeError(path, "other features", detail)
        if change := find_change(path, found.get("video")):
            detail = f"{change} when its features were extracted; run `slowfast extract` again"
            raise DecodeError(path, "changed video", detail)
        if len(self._unchanged) < _MOST_REMEMBERED:
            self._unchanged.add(key)

    def _row_times(self, path: str) -> RowTimes:
        try:
            return RowTimes.from_table(read_array(str(times_path(self.folder, self.names(path))), path))
        except DecodeError as error:
            if error.reason == "no features":
                raise DecodeError(path, *find_failure(self.folder, self.names(path))) from error
            raise
        except ValueError as error:
            raise DecodeError(path, "damaged features", str(error)) from error

    def _read(
        self, path: str, variant: Variant, row_times: RowTimes, rows: NDArray[np.int64] | None = None
    ) -> NDArray[Any]:
        """Returns rows (n, …) of a video; None: all."""
        self.check_unchanged(path, variant)
        with ArrayFile(str(features_path(self.folder, variant, self.names(path))), path) as file:
            wanted = (row_times.times.num_frames, *self.row_shape)
            if file.shape != wanted or file.dtype != STORED[self.dtype][1]:
                detail = f"{file.dtype} {file.shape} instead of {self.dtype} {wanted}; extract it again"
                raise DecodeError(path, "damaged features", detail)
            return file.read(rows)


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
        taken = take_rows(features, rows)
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
            return FrameTimes(np.arange(count) / self.fps, count / self.fps)
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


def plan_rows(
    scheme: Scheme,
    position_rate: float | None,
    row_times: RowTimes,
    path: str,
    view: int,
    rng: np.random.Generator,
    segment: Segment | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the rows (n,) of a view and their positions (n,), as for a video of the frames of the T rows.

    Args:
        row_times: times and frame numbers of the T rows.
        path: the video, for messages.
        segment: start and end in seconds; None: the whole video.

    Raises:
        DecodeError: where the view does not exist in the video.
    """
    rows, positions = ViewReader(scheme, position_rate).plan(row_times.times, path, view, rng, segment)
    if position_rate is None:
        # Positions count rows from the first one of the segment; the model needs frames of the source.
        base = int(row_times.numbers[rows[0] - positions[0]])
        positions = row_times.positions(None, base)[rows]
    return rows, positions


def take_rows(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Returns a copy of ascending rows (n, …) of a memory-mapped array (T, …); only their pages are read."""
    return (
        np.ascontiguousarray(array[rows])
        if array.dtype.isnative
        else array[rows].astype(array.dtype.newbyteorder("="))
    )


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
