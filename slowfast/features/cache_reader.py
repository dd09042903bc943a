"""A reader of views of videos as rows of features from a cache.

T rows of a video, n rows of a view, M tokens of a frame, F width of a feature. A row is (F,), or (M, F) for
several tokens per frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.views.view_reader import Scheme, Segment
from slowfast.errors import DecodeError
from slowfast.features.array_file import ArrayFile, read_array
from slowfast.features.broken_list import find_failure
from slowfast.features.cache import MANIFEST, FeatureNames, Manifest, Variant, features_path, times_path
from slowfast.features.row_times import RowTimes, plan_rows
from slowfast.features.source import find_change
from slowfast.features.storage import STORED, from_stored
from slowfast.files import read_json_object

# Videos that a process remembers as unchanged, in about 10 MB.
_MOST_REMEMBERED = 200_000


@dataclass(frozen=True)
class CacheReader:
    """A reader of views from a feature cache (``slowfast.features.cache``).

    Attributes:
        scheme: chooses the frames of a view.
        position_rate: see :class:`slowfast.datasets.views.view_reader.ViewReader`.
        folder: folder of the cache.
        manifest: its description.
        names: maps a video's path to its name in the cache.
        variants: variants by the crop of a view; where a crop has several, one is drawn at random (training).
    """

    scheme: Scheme
    position_rate: float | None
    folder: str
    manifest: Manifest
    names: FeatureNames
    variants: Mapping[int, tuple[Variant, ...]]
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
        return from_stored(features, self.manifest.dtype), torch.from_numpy(positions)

    def read_all(self, path: str) -> tuple[Tensor, RowTimes]:
        """Returns all rows of a video, (T, F) or (T, M, F), of the first variant, and their times.

        Raises:
            DecodeError: as :meth:`read`.
        """
        row_times = self._row_times(path)
        features = self._read(path, self.variants[0][0], row_times)
        return from_stored(features, self.manifest.dtype), row_times

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
        found, settings = read_json_object(description), self.manifest.settings_hash
        if found.get("settings", settings) != settings:
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
            dtype, wanted = self.manifest.dtype, (row_times.times.num_frames, *self.manifest.row_shape)
            if file.shape != wanted or file.dtype != STORED[dtype][1]:
                detail = f"{file.dtype} {file.shape} instead of {dtype} {wanted}; extract it again"
                raise DecodeError(path, "damaged features", detail)
            return file.read(rows)
