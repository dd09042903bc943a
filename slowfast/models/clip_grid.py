"""The division of a sequence of frames into the clips that a clip encoder sees, and into time steps.

T frames of a sequence, t of a clip, u of a time step (a tubelet), S time steps of the sequence, B sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.errors import ModelError


@dataclass(frozen=True)
class ClipSpan:
    """A clip of a sequence and the time steps that are taken from it.

    Attributes:
        start, stop: its frames, ``start`` … ``stop − 1``; fewer than t at the end of a sequence.
        keep_from, keep_to: the steps within the clip that are used, ``keep_from`` … ``keep_to − 1``.
    """

    start: int
    stop: int
    keep_from: int
    keep_to: int


@dataclass(frozen=True)
class ClipGrid:
    """The clips and time steps of sequences of any length.

    Time step i stands for the frames i·u … (i + 1)·u − 1, so that T frames have ceil(T / u) steps; the last
    one may be incomplete, and so may the last clip. Clips start every ``stride`` frames. Where they overlap,
    a step is taken from the clip in whose middle it is. Where they leave gaps, the frames between two clips
    are left out when frames are chosen (:meth:`used_frames`); all other methods are about a sequence without
    them.

    Attributes:
        frames: t, a multiple of ``tubelet``.
        tubelet: u.
        stride: frames from the start of a clip to the start of the next, a multiple of ``tubelet``.
        fps: frames per second of the clips that the encoder was trained on; 0: not known.

    Raises:
        ModelError: for numbers that do not fit together.

    >>> grid = ClipGrid(frames=4, tubelet=2, stride=4)
    >>> [(span.start, span.stop) for span in grid.spans(7)]
    [(0, 4), (4, 7)]
    >>> grid.num_steps(7)  # the last frame of the last step is missing
    4
    """

    frames: int
    tubelet: int
    stride: int
    fps: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("frames", self.frames), ("stride", self.stride)):
            if value < 1 or value % self.tubelet:
                raise ModelError(
                    f"clip {name} = {value}: must be a multiple of {self.tubelet}, the frames per time step "
                    "of this encoder"
                )

    def describe(self) -> str:
        """Returns the grid in words, which identifies features in files."""
        return f"{self.frames} frames every {self.stride}, {self.tubelet} per time step"

    @property
    def hop(self) -> int:
        """Frames from the start of a clip to the start of the next, without those of a gap."""
        return min(self.stride, self.frames)

    @property
    def overlap(self) -> int:
        """Frames that a clip shares with the next one."""
        return self.frames - self.hop

    @property
    def lead(self) -> int:
        """Steps at the start of each clip but the first that are taken from the clip before it."""
        return self.overlap // self.tubelet // 2

    def used_frames(self, num_frames: int) -> NDArray[np.int64]:
        """Returns which of T frames belong to a clip, ascending: all of them where clips leave no gaps."""
        frames = np.arange(num_frames)
        return frames[frames % self.stride < self.frames]

    def spans(self, num_frames: int) -> Iterator[ClipSpan]:
        """Yields the clips of T frames in their order; each step is in ``keep_from`` … of exactly one."""
        count = max(1, -(-(num_frames - self.overlap) // self.hop))
        for clip in range(count):
            start = clip * self.hop
            stop = min(start + self.frames, num_frames)
            is_last = clip == count - 1
            keep_to = self.num_steps(stop - start) if is_last else self.hop // self.tubelet + self.lead
            yield ClipSpan(start, stop, self.lead if clip else 0, keep_to)

    def num_steps(self, num_frames: int) -> int:
        """Returns S for T frames."""
        return -(-num_frames // self.tubelet)

    def first_step(self, clip: int) -> int:
        """Returns the first step that is taken from a clip, by the number of the clip."""
        return clip * self.hop // self.tubelet + self.lead if clip else 0

    def clip_of_step(self, step: int) -> int:
        """Returns the last clip whose first step is that step or an earlier one."""
        return max(0, (step - self.lead) // (self.hop // self.tubelet))

    def step_positions(
        self,
        positions: Tensor | None,
        mask: Tensor | None,
        num_frames: int,
        device: torch.device | None = None,
    ) -> Tensor:
        """Returns the positions (B, S) of the steps, the middle of first and last frame, rounded down.

        Args:
            positions: (B, T) of an integer dtype; None: 0 … T − 1.
            mask: (B, T) bool, True where a frame is real; None: all. Only real frames count.
            num_frames: T.
            device: of the result where neither positions nor mask are given; None: the CPU.
        """
        if positions is None:
            shape = (1, num_frames) if mask is None else mask.shape
            device = device if mask is None else mask.device
            positions = torch.arange(num_frames, device=device).expand(shape)
        frames = self._by_step(positions.long())  # (B, S, u); sums would overflow smaller dtypes
        if mask is None:
            return (frames[..., 0] + frames[..., -1]) // 2
        real = self._by_step(mask)
        largest = torch.iinfo(frames.dtype).max
        first = torch.where(real, frames, largest).amin(-1)
        last = torch.where(real, frames, -1).amax(-1)
        return torch.where(real.any(-1), (first.clamp(max=largest // 2) + last) // 2, 0)

    def step_mask(self, mask: Tensor | None) -> Tensor | None:
        """Returns which steps (B, S) have a real frame, from the mask (B, T) of the frames."""
        return None if mask is None else self._by_step(mask).any(-1)

    def step_frames(self, num_frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the first and the last frame of each step, (S,) each."""
        first = np.arange(self.num_steps(num_frames)) * self.tubelet
        return first, np.minimum(first + self.tubelet, num_frames) - 1

    def align(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the times (T,) of frames with the middle of its step for each frame."""
        first, last = self.step_frames(len(seconds))
        return ((seconds[first] + seconds[last]) / 2)[np.arange(len(seconds)) // self.tubelet]

    def _by_step(self, values: Tensor) -> Tensor:
        """Returns values (B, T) as (B, S, u); an incomplete last step repeats its last frame."""
        missing = -values.shape[1] % self.tubelet
        if missing:
            values = torch.cat([values, values[:, -1:].expand(-1, missing)], dim=1)
        return values.unflatten(1, (-1, self.tubelet))
