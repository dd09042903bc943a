"""Features of a video's frames with their times: what the backbone gave once and the encoder may read often.

T frames, F width of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slowfast.errors import InputError
from slowfast.video.frame_times import FrameTimes


@dataclass(frozen=True)
class VideoFeatures:
    """The features of a video, or of a part of one, which is then a video of its own that begins at 0.

    Attributes:
        features: (T, F) of any float type, in memory or memory-mapped.
        times: when each of the T frames is shown; the first at 0.
        indices: (T,) int64, ascending, the frames' numbers in the source video; the first is 0 for the first
            frame of a video.
        mask: (T,) bool, False for frames that could not be decoded, whose features mean nothing; None: all
            could.
    """

    features: Tensor
    times: FrameTimes
    indices: np.ndarray
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        lengths = (len(self.features), self.times.num_frames, len(self.indices))
        if self.features.ndim != 2 or len(set(lengths)) > 1 or lengths[0] == 0:
            raise InputError(
                f"features {tuple(self.features.shape)}, {lengths[1]} times and {lengths[2]} indices do not "
                "fit; give features (frames, width), one frame at least, with one time and one index a frame"
            )

    @property
    def num_decoded(self) -> int:
        """Frames that could be decoded."""
        return len(self.features) if self.mask is None else int(self.mask.sum())

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.times.duration

    def positions(self, rate: float | None) -> Tensor:
        """The positions (T,) int64 that a model with that ``position_rate`` wants; None: frame indices."""
        if rate is None:
            return torch.from_numpy(np.asarray(self.indices, np.int64))
        return torch.from_numpy(np.round(self.times.seconds * rate).astype(np.int64))

    def part(self, start: float, end: float) -> VideoFeatures:
        """The part between two times in seconds, with the positions that it would have if it were cut out.

        It begins with the frame on screen at ``start``. The features are not copied.

        Raises:
            InputError: where the video ends before ``start``.
        """
        try:
            first, times = self.times.cut(start, end)
        except ValueError as error:
            raise InputError(str(error)) from error
        rows = slice(first, first + times.num_frames)
        mask = None if self.mask is None else self.mask[rows]
        return VideoFeatures(self.features[rows], times, self.indices[rows] - self.indices[first], mask)
