"""The features of a video's frames with their times, which can be scored many times.

T frames or time steps, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slowfast.errors import InputError
from slowfast.features.row_times import RowTimes
from slowfast.models.frame_encoder import as_tensor
from slowfast.video.frame_times import FrameTimes


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """The features of a video, or of a part of a video, whose times then start at 0, too.

    Attributes:
        features: (T, F) or (T, M, F) of any float dtype, in memory or memory-mapped; arrays become tensors.
        times: display times of the T frames; the first is 0.
        indices: (T,) int64, ascending, the numbers of the frames in the source video, from 0.
        mask: (T,) bool, False for frames that could not be decoded, whose features must not be used; None:
            all frames were decoded.
        centres: (T,) int64, for features of several frames each: the number of the frame in the middle, while
            ``indices`` and ``times`` are those of the first frame. None: ``indices``.

    Raises:
        InputError: where the lengths differ, or are 0.
    """

    features: Tensor
    times: FrameTimes
    indices: np.ndarray
    mask: Tensor | None = None
    centres: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", as_tensor(self.features))
        lengths = (len(self.features), self.times.num_frames, len(self.indices))
        if self.features.ndim not in (2, 3) or len(set(lengths)) > 1 or lengths[0] == 0:
            raise InputError(
                f"features have shape {tuple(self.features.shape)}, and there are {lengths[1]} times and "
                f"{lengths[2]} indices: must be features (frames, width) or (frames, tokens, width) of at "
                "least one frame, with one time and one index per frame"
            )

    @property
    def decoded(self) -> Tensor:
        """(T,) bool, True for frames that could be decoded."""
        if self.mask is None:
            return torch.ones(len(self.features), dtype=torch.bool, device="cpu")
        return self.mask

    @property
    def num_decoded(self) -> int:
        """Number of frames that could be decoded."""
        return len(self.features) if self.mask is None else int(self.mask.sum())

    @property
    def frame_numbers(self) -> np.ndarray:
        """(T,) int64, the frame in the source video that each row shows, of several the one in the middle."""
        return self.indices if self.centres is None else self.centres

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.times.duration

    def positions(self, rate: float | None) -> Tensor:
        """Returns the positions (T,) int64 for a model with that ``position_rate``; None: frame indices."""
        return torch.from_numpy(RowTimes(self.times, self.indices, self.centres).positions(rate))

    def part(self, start: float, end: float) -> VideoFeatures:
        """Returns the part between two times in seconds, as a video of its own.

        Its first frame is the one that is displayed at ``start``. The features are not copied.

        Raises:
            InputError: where the video ends before ``start``.
        """
        first, times = self.times.cut(start, end)
        rows = slice(first, first + times.num_frames)
        mask = None if self.mask is None else self.mask[rows]
        base = self.indices[first]
        centres = None if self.centres is None else self.centres[rows] - base
        return VideoFeatures(self.features[rows], times, self.indices[rows] - base, mask, centres)
