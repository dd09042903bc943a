"""Scaling, cropping and mirroring of a decoded frame, in pixels.

The crop of a view is chosen before the size of the video is known. It is therefore a :data:`Placer`, a
function of that size; the decoder calls it with the size of the first frame (after rotation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Placement:
    """The way from a source frame to an output frame: scale, then crop, then flip (all sizes in pixels).

    Attributes:
        height, width: size of the full frame after scaling.
        top, left, crop_height, crop_width: the crop of the scaled frame.
        flip: True to mirror the crop left to right.
        interpolation: ``bilinear`` or ``bicubic``, for the scaling.
    """

    height: int
    width: int
    top: int
    left: int
    crop_height: int
    crop_width: int
    flip: bool = False
    interpolation: str = "bilinear"

    @property
    def uncropped(self) -> Placement:
        """The same scaling, without crop and flip."""
        return replace(self, top=0, left=0, crop_height=self.height, crop_width=self.width, flip=False)

    def crop(self, frames: np.ndarray) -> np.ndarray:
        """Returns the crop of full scaled frames (…, height, width, 3) as a view, without the flip."""
        bottom, right = self.top + self.crop_height, self.left + self.crop_width
        return frames[..., self.top : bottom, self.left : right, :]


Placer = Callable[[int, int], Placement]
"""(source height, source width) -> Placement."""


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Returns (height, width) for a given short side and the same aspect; the long side is rounded down."""
    if height < width:
        return short_side, max(math.floor(width / height * short_side), short_side)
    return max(math.floor(height / width * short_side), short_side), short_side


def scaled_by(interpolation: str, placer: Placer) -> Placer:
    """Returns a placer that gives the same placements with another interpolation."""

    def place(height: int, width: int) -> Placement:
        return replace(placer(height, width), interpolation=interpolation)

    return place


def full_frame(short_side: int | None = None) -> Placer:
    """Returns the placer of the full frame, scaled to ``short_side`` pixels (None: in its own size)."""

    def place(height: int, width: int) -> Placement:
        if short_side is not None:
            height, width = scaled_size(height, width, short_side)
        return Placement(height, width, 0, 0, height, width)

    return place
