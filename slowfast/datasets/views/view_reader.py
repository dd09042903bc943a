"""The views of a video: schemes that plan them, and the reader that decodes them.

A scheme defines the views of a split; a :class:`ViewReader` turns (path, view) into frames and positions.
T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.views import sampling, spatial
from slowfast.datasets.views.streamed_view import StreamedView
from slowfast.models.clip_grid import ClipGrid
from slowfast.timing.stage_times import TRANSFORMING, measure
from slowfast.video.decoding import OpenVideo, open_video
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placer, scaled_by

Segment = tuple[float, float]
"""Start and end in seconds."""


class Scheme(Protocol):
    """The views of each video: ``num_temporal × num_crops``, one for each temporal view and crop."""

    @property
    def num_temporal(self) -> int: ...

    @property
    def num_crops(self) -> int: ...

    def frames(self, times: FrameTimes, view: int, rng: np.random.Generator) -> np.ndarray:
        """Returns frame indices (T,) int64, ascending."""
        ...

    def placer(self, crop: int, rng: np.random.Generator) -> Placer:
        """Returns the placement of a crop."""
        ...


@dataclass(frozen=True)
class TrainingViews:
    """One view per video: a random clip, crop and flip.

    Attributes:
        num_frames: T.
        sampling_rate: distance between frames, in frames at ``target_fps``.
        target_fps: frames per second.
        short_sides: range of the scaled short side, pixels.
        crop_size: side of the crop, pixels.
        flip: mirror half of the clips.
        inverse_uniform: draw the inverse of the short side uniformly.
        crop_area, crop_aspect: ranges of a random resized crop: fraction of the image area, and width divided
            by height; None: a crop of the scaled image.
        num_temporal, num_crops: 1.
        interpolation: of the scaling, ``bilinear`` or ``bicubic``.
        full_video: frames are spread over the full video, one drawn from each of T equal parts;
            ``sampling_rate`` has no effect.
        frames_range: T is drawn between these two values for each clip; None: it is ``num_frames``.
        duration_range: with ``full_video``, the frames are spread over a part of the video whose fraction is
            drawn between these two values; None: over the full video.
    """

    num_frames: int
    sampling_rate: float
    target_fps: float
    short_sides: tuple[int, int]
    crop_size: int
    flip: bool
    inverse_uniform: bool
    crop_area: tuple[float, float] | None = None
    crop_aspect: tuple[float, float] | None = None
    num_temporal: int = 1
    num_crops: int = 1
    interpolation: str = "bilinear"
    full_video: bool = False
    frames_range: tuple[float, float] | None = None
    duration_range: tuple[float, float] | None = None

    def frames(self, times: FrameTimes, view: int, rng: np.random.Generator) -> np.ndarray:
        count = self.num_frames
        if self.frames_range is not None:
            least, largest = self.frames_range
            count = int(rng.integers(int(least), int(largest) + 1))
        if not self.full_video:
            return sampling.random_clip(times, count, self.sampling_rate, self.target_fps, rng)
        if self.duration_range is None:
            return sampling.spread_clip(times, count, rng)
        return sampling.spread_part(times, count, float(rng.uniform(*self.duration_range)), rng)

    def placer(self, crop: int, rng: np.random.Generator) -> Placer:
        if self.crop_area is not None and self.crop_aspect is not None:
            area, aspect = self.crop_area, self.crop_aspect
            placer = spatial.random_resized_crop(area, aspect, self.crop_size, rng, flip=self.flip)
        else:
            placer = spatial.random_crop(
                self.short_sides, self.crop_size, rng, flip=self.flip, inverse_uniform=self.inverse_uniform
            )
        return scaled_by(self.interpolation, placer)


@dataclass(frozen=True, kw_only=True)
class _EvaluationViews:
    """The settings of views at fixed times and places.

    Attributes:
        short_side: of the scaled image, pixels.
        num_temporal, num_crops: temporal views per video, and crops of each.
        picture_multiple: 0: square crops; above 0: the whole picture, its sides multiples of this.
        Others as in :class:`TrainingViews`.
    """

    num_frames: int
    target_fps: float
    short_side: int
    crop_size: int
    num_temporal: int = 1
    num_crops: int = 1
    interpolation: str = "bilinear"
    picture_multiple: int = 0

    def placer(self, crop: int, rng: np.random.Generator) -> Placer:
        return spatial.evaluated_frame(
            self.short_side,
            self.crop_size,
            crop,
            self.num_crops,
            picture_multiple=self.picture_multiple,
            interpolation=self.interpolation,
        )


@dataclass(frozen=True, kw_only=True)
class ClipViews(_EvaluationViews):
    """Clips evenly over the video; with ``centre`` one clip in its middle, and ``num_temporal`` is 1."""

    sampling_rate: float
    centre: bool = False

    def frames(self, times: FrameTimes, view: int, rng: np.random.Generator) -> np.ndarray:
        clip = (times, self.num_frames, self.sampling_rate, self.target_fps)
        return (
            sampling.centre_clip(*clip) if self.centre else sampling.view_clip(*clip, view, self.num_temporal)
        )


class WholeVideoViews(_EvaluationViews):
    """The full video in one temporal view: ``num_frames`` of its frames, or with 0 all at ``target_fps``."""

    def frames(self, times: FrameTimes, view: int, rng: np.random.Generator) -> np.ndarray:
        return sampling.whole_video(times, self.num_frames, self.target_fps)


@dataclass(frozen=True)
class ViewReader:
    """A reader of views of video files.

    Attributes:
        scheme: plans the views.
        position_rate: None: positions are frame indices; else ``round(seconds × position_rate)``.
        open_source: opens a path: a video file, or a folder of images.
        augment: returns the augmented pixels of a clip (T, H, W, 3) uint8; None: no augmentation.
        clip_grid: clips and time steps of a model that encodes clips. Frames outside of its clips are left
            out, and positions in seconds are those of the middle of a frame's time step; None: single frames.
        stream_frames: views of more frames are planned only, and not augmented; 0: none.
    """

    scheme: Scheme
    position_rate: float | None = None
    open_source: Callable[[str], OpenVideo] = open_video
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    clip_grid: ClipGrid | None = None
    stream_frames: int = 0

    def read(
        self, path: str, view: int, crop: int, rng: np.random.Generator, segment: Segment | None = None
    ) -> tuple[Tensor, Tensor] | StreamedView:
        """Returns frames (3, T, H, W) uint8, in memory laid out as (T, H, W, 3), and positions (T,) int64.

        A segment is read as if it were a file of its own: its positions start at 0.

        Args:
            path: of the file.
            view: temporal view of the scheme.
            crop: crop of the scheme.
            rng: generator of all random choices.
            segment: start and end in seconds within the file; None: the full file.

        Raises:
            DecodeError: where the video cannot be decoded; of a planned view, where it cannot be opened.
        """
        with self.open_source(path) as video:
            indices, positions = self.plan(video.times, path, view, rng, segment)
            if 0 < self.stream_frames < len(indices):
                return StreamedView(self, path, crop, indices, torch.from_numpy(positions))
            frames = video.read(indices, self.scheme.placer(crop, rng))
        if self.augment is not None:
            with measure(TRANSFORMING):
                frames = self.augment(frames, rng)
        # (T, H, W, 3) -> (3, T, H, W)
        return torch.from_numpy(frames).permute(3, 0, 1, 2), torch.from_numpy(positions)

    def plan(
        self, times: FrameTimes, path: str, view: int, rng: np.random.Generator, segment: Segment | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices of a view's frames in the file, and their positions; (T,) int64 each.

        Raises:
            DecodeError: where the file ends before the segment starts.
        """
        first, times = times.cut_segment(segment, path)
        indices = self.scheme.frames(times, view, rng)
        grid = self.clip_grid
        if grid is not None:
            indices = indices[grid.used_frames(len(indices))]
        positions = indices
        if self.position_rate is not None:
            seconds = times.position_seconds[indices]
            seconds = seconds if grid is None else grid.align(seconds)
            positions = np.round(seconds * self.position_rate).astype(np.int64)
        return first + indices, positions
