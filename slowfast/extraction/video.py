"""One video's features onto the disk, whatever ends the work early.

t frames of a chunk, T frames, H W pixels, F width of a feature.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.datasets.clip import normalize
from slowfast.datasets.views.sampling import whole_video
from slowfast.engine.long_clip import CHUNK_FRAMES
from slowfast.errors import DataError
from slowfast.features.cache import (
    Manifest,
    Variant,
    by_short_side,
    features_path,
    times_path,
    write_times,
)
from slowfast.features.storage import STORED, FeatureFile, describe_file
from slowfast.interrupt import Interrupt
from slowfast.models.precision import Precision
from slowfast.video.decoding import OpenVideo
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placement


@dataclass
class VideoExtractor:
    """Decodes videos, runs a model's backbone on their frames and writes what comes out.

    May be called from several threads: they decode at the same time, and one after another computes.

    Attributes:
        model: a :class:`slowfast.models.build.FeatureModel` in evaluation mode.
        folder: of the cache.
        manifest: what is made; says which frames, and how they are shown.
        settings: a digest of the manifest; features made under another are made anew.
        interrupt: asked between two chunks.
    """

    model: Any
    folder: str
    manifest: Manifest
    settings: str
    device: torch.device
    precision: Precision
    interrupt: Interrupt
    _computing: threading.Lock = field(default_factory=threading.Lock)

    def missing(self, path: str, name: str, variants: Sequence[Variant]) -> list[Variant]:
        """Which of the variants of a video are not complete, or not of this file."""
        video = self._describe(path)
        if not times_path(self.folder, name).is_file():
            return list(variants)
        return [variant for variant in variants if self._recorded(name, variant) != video]

    def extract(
        self, path: str, name: str, variants: Sequence[Variant], open_source: Callable[[str], OpenVideo]
    ) -> int:
        """Makes the features of a video, or the rest of them; returns how many frames were looked at.

        Raises:
            DecodeError: for whatever cannot be decoded.
            DataError: for features that the number type cannot hold.
            Interrupted: after a signal; the same call goes on behind the last chunk.
        """
        seen = 0
        with open_source(path) as video:
            times, fps = video.times, self.manifest.fps
            numbers = whole_video(times, 0, fps) if fps else np.arange(times.num_frames)
            # Before the features: what is complete has its times.
            shown = FrameTimes(times.seconds[numbers], times.duration)
            write_times(times_path(self.folder, name), shown, numbers, times.num_frames)
            for group in by_short_side(variants):
                with ExitStack() as stack:
                    files = {v: stack.enter_context(self._open_part(path, name, v)) for v in group}
                    for count in self._fill(video, numbers, files):
                        seen += count
                        self.interrupt.raise_if_requested()
                    for variant, file in files.items():
                        file.finish(features_path(self.folder, variant, name))
        return seen

    def _fill(
        self, video: OpenVideo, numbers: NDArray[np.int64], files: Mapping[Variant, FeatureFile]
    ) -> Iterator[int]:
        """Appends to the files what they lack, chunk by chunk; yields the frames of each."""
        done = min(file.count for file in files.values())
        for file in files.values():
            file.keep(done)
        size: list[tuple[int, int]] = []
        whole = len(files) > 1

        def place(height: int, width: int) -> Placement:
            size[:] = [(height, width)]
            placed = next(iter(files)).placer(height, width)
            return placed.uncropped if whole else placed

        for pictures in video.read_chunks(numbers[done:], CHUNK_FRAMES, place):
            for variant, file in files.items():
                part = variant.placer(*size[0]).crop(pictures) if whole else pictures
                file.append(self._encode(part, variant.flip))
            yield len(pictures)

    def _encode(self, pictures: NDArray[np.uint8], flip: bool) -> Tensor:
        """(t, H, W, 3) uint8 -> features (t, F)."""
        clip = torch.from_numpy(np.ascontiguousarray(pictures)).permute(3, 0, 1, 2)[None]  # (1, 3, t, H, W)
        if flip:
            clip = clip.flip(-1)
        if self.manifest.channels == "BGR":
            clip = clip.flip(1)
        with self._computing, torch.no_grad(), self.precision.autocast():
            frames = normalize(clip.to(self.device), self.manifest.mean, self.manifest.std)
            features = self.model.encode_frames(frames)[0].float().cpu()
        largest = float(features.abs().max())
        if not largest <= torch.finfo(STORED[self.manifest.dtype][0]).max:
            raise DataError(
                f"features reach {largest:g}, which {self.manifest.dtype} cannot hold; extract as bfloat16 "
                "or float32, and look at the weights if they are not finite"
            )
        return features

    def _open_part(self, path: str, name: str, variant: Variant) -> FeatureFile:
        part = features_path(self.folder, variant, name).with_suffix(".part.npy")
        return FeatureFile(part, self.manifest.feature_dim, self._describe(path), self.manifest.dtype)

    def _describe(self, path: str) -> dict[str, Any]:
        return {"video": describe_file(path), "settings": self.settings}

    def _recorded(self, name: str, variant: Variant) -> Any:
        """The description of complete features; None where there are none."""
        path = features_path(self.folder, variant, name)
        try:
            return json.loads(path.with_suffix(".json").read_text()) if path.is_file() else None
        except (OSError, ValueError):
            return None
