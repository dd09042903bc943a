"""The description of a clip encoder: the clips that it was trained on, and the clips that it accepts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClipDescription:
    """The clips of a backbone that maps clips (N, 3, t, H, W) to features per time step.

    Attributes:
        frames: t, frames of a clip, a multiple of ``tubelet``.
        tubelet: frames per time step.
        frame_rate: frames per second of the clips that the weights were trained on.
        accepts_shorter: whether clips may have fewer frames, a multiple of ``tubelet``. The features are then
            those of a clip of t frames in which no token of the missing frames takes part.
    """

    frames: int
    tubelet: int
    frame_rate: float
    accepts_shorter: bool = True
