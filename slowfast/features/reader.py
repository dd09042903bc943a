"""Reads views of videos as rows of features: which rows, from where on the disk.

T rows of a file, n rows of a view, F width of a feature.
"""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.views.view_reader import Scheme, Segment, ViewReader
from slowfast.errors import DecodeError
from slowfast.features.cache import FeatureNames, Variant, features_path, split_times, times_path
from slowfast.features.storage import STORED, from_stored
from slowfast.video.frame_times import FrameTimes

LAYOUTS = ("frames_first", "frames_last")
"""How files made elsewhere are laid out: (T, F) or (F, T)."""

# Magic, version and length of the header at the start of a .npy file.
_PREAMBLE = 10


@dataclass(frozen=True)
class CacheReader:
    """Reads views from a feature cache (``slowfast.features.cache``).

    Attributes:
        position_rate: see :class:`slowfast.datasets.views.view_reader.ViewReader`.
        names: of the videos, by path.
        feature_dim, dtype: what the cache holds.
        variants: by the view's crop; of several for one crop any is drawn (training).
    """

    scheme: Scheme
    position_rate: float | None
    folder: str
    names: FeatureNames
    feature_dim: int
    dtype: str
    variants: Mapping[int, tuple[Variant, ...]]

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns features (n, F) and positions (n,) int64, of the frames that a decoder would have given.

        Raises:
            DecodeError: where the cache lacks the video, or has only a part of it.
        """
        name = self.names(path)
        try:
            times, numbers = split_times(map_array(str(times_path(self.folder, name)), path))
        except ValueError as error:
            raise DecodeError(path, "damaged features", str(error)) from error
        rows, positions = plan_rows(self.scheme, self.position_rate, times, numbers, path, view, rng, segment)
        choice = self.variants[crop]
        variant = choice[int(rng.integers(len(choice)))] if len(choice) > 1 else choice[0]
        array = map_array(str(features_path(self.folder, variant, name)), path)
        wanted = (times.num_frames, self.feature_dim)
        if array.shape != wanted or array.dtype != STORED[self.dtype][1]:
            detail = f"{array.dtype} {array.shape} in place of {self.dtype} {wanted}; extract it again"
            raise DecodeError(path, "damaged features", detail)
        return from_stored(take_rows(array, rows), self.dtype), torch.from_numpy(positions)


@dataclass(frozen=True)
class FeatureFileReader:
    """Reads views from feature files made elsewhere: ``.npy``, or ``.npz`` with ``features`` and ``times``.

    Times are seconds in the video, one a row, also in ``NAME.times.npy`` beside ``NAME.npy``. Where the first
    is 0 a row stands from its time to the next one's; else times are taken for the middle of what a row looks
    at, and it stands from half a step before. The first one stands from the video's begin. Frames of the
    source are not known: where positions are frame indices, they are row numbers.

    Attributes:
        fps: rows a second of files without times; 0: not known.
        layout: of ``LAYOUTS``.
        feature_dim: F, or None to take any.
    """

    scheme: Scheme
    position_rate: float | None
    fps: float = 0.0
    layout: str = LAYOUTS[0]
    feature_dim: int | None = None

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns features (n, F) and positions (n,) int64.

        Raises:
            DecodeError: where the file cannot be read or is laid out in another way; says what to set.
        """
        features, times = self.open(path)
        numbers = np.arange(times.num_frames)
        rows, positions = plan_rows(self.scheme, self.position_rate, times, numbers, path, view, rng, segment)
        return torch.from_numpy(take_rows(features, rows)), torch.from_numpy(positions)

    def open(self, path: str) -> tuple[NDArray[Any], FrameTimes]:
        """Returns all features (T, F), memory-mapped where the file allows it, and their times."""
        found = _find_file(path)
        if found.endswith(".npz"):
            features, seconds = _read_npz(found)
        else:
            features = map_array(found, path)
            beside = f"{found.removesuffix('.npy')}.times.npy"
            seconds = map_array(beside, path) if os.path.isfile(beside) else None
        if features.ndim != 2 or not len(features):
            detail = f"{found} has shape {features.shape}, not rows of features"
            raise DecodeError(path, "no features", detail)
        if features.dtype.kind != "f":
            detail = f"{found} holds {features.dtype}; convert it to float16, float32 or float64"
            raise DecodeError(path, "no features", detail)
        if self.layout == "frames_last":
            features = features.T
        if self.feature_dim is not None and features.shape[1] != self.feature_dim:
            raise DecodeError(path, "wrong width", self._explain_width(found, features.shape))
        return features, self._times(path, seconds, len(features))

    def _explain_width(self, found: str, shape: tuple[int, ...]) -> str:
        detail = f"{found} has rows of {shape[1]}, and the model takes {self.feature_dim}"
        if shape[0] == self.feature_dim:
            other = next(layout for layout in LAYOUTS if layout != self.layout)
            return f"{detail}; set DATA.FEATURES_LAYOUT {other}"
        return f"{detail}; build the model for features of {shape[1]}"

    def _times(self, path: str, seconds: NDArray[Any] | None, count: int) -> FrameTimes:
        if seconds is None:
            if not self.fps:
                detail = "the file has no times; set DATA.FEATURES_FPS to the rows a second"
                raise DecodeError(path, "no times", detail)
            return FrameTimes(np.arange(count) / self.fps, count / self.fps)
        starts = np.array(seconds, np.float64)
        if starts.shape != (count,) or not np.isfinite(starts).all() or (np.diff(starts) <= 0).any():
            detail = f"{count} rows want as many rising seconds; times have shape {starts.shape}"
            raise DecodeError(path, "wrong times", detail)
        step = float(np.median(np.diff(starts))) if count > 1 else 1 / (self.fps or 1.0)
        shift = min(max(float(starts[0]), 0.0), step / 2)
        duration = float(starts[-1]) + step - shift
        starts -= shift
        starts[0] = 0.0
        return FrameTimes(starts, duration)


def plan_rows(
    scheme: Scheme,
    position_rate: float | None,
    times: FrameTimes,
    numbers: NDArray[np.int64],
    path: str,
    view: int,
    rng: np.random.Generator,
    segment: Segment | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows a view takes, and their positions: those that a video of just these frames would give.

    Args:
        times: of the T rows.
        numbers: (T,) the rows' frame numbers in the source video.
    """
    rows, positions = ViewReader(scheme, position_rate).plan(times, path, view, rng, segment)
    if position_rate is None:
        # Positions count rows from the segment's first; what the model knows are the source's frames.
        positions = numbers[rows] - numbers[rows[0] - positions[0]]
    return rows, positions


def take_rows(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Copies ascending rows (n, F) out of a memory-mapped array (T, F): only their pages are read."""
    return (
        np.ascontiguousarray(array[rows])
        if array.dtype.isnative
        else array[rows].astype(array.dtype.newbyteorder("="))
    )


def map_array(path: str, video: str) -> NDArray[Any]:
    """Memory-maps a ``.npy`` file for reading.

    ``numpy.load`` does the same in five times the time, most of it spent on parsing headers, which repeat.

    Args:
        video: what a message is about.

    Raises:
        DecodeError: where there is no such file, or none that is whole.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            preamble = file.read(_PREAMBLE)
            if preamble[:8] != b"\x93NUMPY\x01\x00":
                return np.load(path, mmap_mode="r", allow_pickle=False)
            length = int.from_bytes(preamble[8:], "little")
            shape, fortran_order, dtype = _parse_header(preamble[8:] + file.read(length))
            if dtype.hasobject:
                raise ValueError("it holds Python objects")
            count = int(np.prod(shape))
            if count == 0:
                return np.zeros(shape, dtype)
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        flat = np.frombuffer(memory, dtype, count, _PREAMBLE + length)
        return flat.reshape(shape, order="F" if fortran_order else "C")
    except FileNotFoundError as error:
        raise DecodeError(video, "no features", f"there is no {path}") from error
    except (ValueError, EOFError) as error:
        raise DecodeError(video, "damaged features", f"{path}: {error}") from error


@lru_cache(maxsize=1024)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parses the header of version 1.0, its length included."""
    return npy.read_array_header_1_0(io.BytesIO(header))


def _find_file(path: str) -> str:
    """The feature file that a row of the list means: itself, or with the ending that it lacks."""
    for candidate in (path, f"{path}.npy", f"{path}.npz"):
        if candidate.endswith((".npy", ".npz")) and os.path.isfile(candidate):
            return candidate
    tried = path if path.endswith((".npy", ".npz")) else f"{path}.npy or .npz"
    raise DecodeError(path, "no features", f"there is no {tried}; see DATA.PATH_PREFIX")


def _read_npz(path: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The arrays ``features`` and, where it is there, ``times``."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if "features" not in file:
                detail = f"{path} has {', '.join(file.files) or 'nothing'}, but no array 'features'"
                raise DecodeError(path, "no features", detail)
            return file["features"], file.get("times")
    except DecodeError:
        raise
    except Exception as error:  # a damaged archive raises errors of several libraries
        raise DecodeError(path, "damaged features", f"{type(error).__name__}: {error}") from error
