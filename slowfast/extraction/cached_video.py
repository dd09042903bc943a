"""The entries of one video in a feature cache: which are missing, and extracting them.

T frames, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

import numpy as np

from slowfast.datasets.views.sampling import whole_video
from slowfast.extraction.video import VideoRows, append_features
from slowfast.features.cache import Manifest, Variant, by_scaling, features_path, part_path, times_path
from slowfast.features.row_times import RowTimes, write_table
from slowfast.features.source import describe_source, is_same_source
from slowfast.features.storage import FeatureFile
from slowfast.files import read_json_object
from slowfast.interrupt import Interrupt
from slowfast.models.clip_grid import ClipGrid
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.video.decoding import OpenVideo
from slowfast.video.frame_times import FrameTimes


def cached_rows(times: FrameTimes, fps: float, grid: ClipGrid | None) -> VideoRows:
    """Returns the rows of a video that a cache holds.

    Args:
        times: of all frames of the video.
        fps: frames per second that are encoded; 0: all frames.
        grid: clips and time steps of the model; None: single frames.
    """
    indices = whole_video(times, 0, fps) if fps else np.arange(times.num_frames)
    return VideoRows.of(indices, grid)


@dataclass
class CachedVideoExtractor:
    """Extracts the features of videos into a cache. May be used by several threads at the same time.

    Attributes:
        encoder: encodes the frames.
        folder: folder of the cache.
        manifest: the content of the cache: which frames, in which variants. Features whose description has
            another ``settings_hash`` are extracted again.
        encoding: how the model computes, which the features of one video share; incomplete ones with another
            one are extracted again.
        interrupt: checked after each chunk.
    """

    encoder: FrameEncoder
    folder: str
    manifest: Manifest
    encoding: str
    interrupt: Interrupt

    def missing(self, path: str, name: str, variants: Sequence[Variant]) -> list[Variant]:
        """Returns those variants of a video that are incomplete, or were extracted from another file.

        Args:
            path: path of the video.
            name: name of the video in the cache.
        """
        if not times_path(self.folder, name).is_file():
            return list(variants)
        return [variant for variant in variants if not self._is_complete(path, name, variant)]

    def extract(
        self, path: str, name: str, variants: Sequence[Variant], open_source: Callable[[str], OpenVideo]
    ) -> int:
        """Extracts variants of a video, or the rest of them; returns how many frames were encoded.

        Raises:
            DecodeError: where the video, or one of its frames, cannot be decoded.
            NotFiniteError: for features that are NaN or infinite.
            DataError: for features beyond the range of the cache's dtype.
            FileInUseError: where another process writes the same file.
            Interrupted: after a signal; the same call continues after the last chunk.
            OSError: where the video does not exist or the disk is full.
        """
        encoded = 0
        # Before the video is opened: one that is replaced later on must not count as what was encoded.
        source = describe_source(path)
        settings = self.manifest.settings_hash
        description = {"video": source, "settings": settings}
        incomplete = {"video": source, "settings": f"{settings}, {self.encoding}"}
        with open_source(path) as video:
            times = video.times
            rows = cached_rows(times, self.manifest.fps, self.encoder.clip_grid)
            # Written first, so that complete features always have their times.
            self._write_times(name, RowTimes.of_frames(times, rows.indices, rows.clip_grid), times.num_frames)
            for group in by_scaling(variants):
                with ExitStack() as stack:
                    files = {}
                    for variant in group:
                        part = part_path(features_path(self.folder, variant, name))
                        file = FeatureFile(part, self.manifest.row_shape, incomplete, self.manifest.dtype)
                        files[variant] = stack.enter_context(file)
                    chunks = stack.enter_context(
                        closing(append_features(self.encoder, video, rows, files, name=path))
                    )
                    for count in chunks:
                        encoded += count
                        self.interrupt.raise_if_requested()
                    for variant, file in files.items():
                        file.finish(features_path(self.folder, variant, name), description)
        return encoded

    def _write_times(self, name: str, row_times: RowTimes, num_frames: int) -> None:
        """Writes the times of the rows, and deletes features of other times, those of a replaced video."""
        path, table = times_path(self.folder, name), row_times.table(num_frames)
        with suppress(OSError, ValueError, EOFError):  # a missing or damaged file
            if np.array_equal(np.load(path, allow_pickle=False), table):
                return
        for variant in self.manifest.variants:
            features_path(self.folder, variant, name).unlink(missing_ok=True)
        write_table(path, table)

    def _is_complete(self, path: str, name: str, variant: Variant) -> bool:
        features = features_path(self.folder, variant, name)
        found = read_json_object(features.with_suffix(".json")) if features.is_file() else {}
        return found.get("settings") == self.manifest.settings_hash and is_same_source(
            path, found.get("video")
        )
