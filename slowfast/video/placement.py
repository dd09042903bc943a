"""Scaling, cropping and mirroring of a decoded frame, in pixels.

A plan is made before the size of a video is known. It gives a :data:`Placer`, a function of that size, which
the decoder calls with the size of the first frame (after rotation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Placement:
    """How one source picture becomes one output picture: scale, then crop, then flip (all in pixels).

    Attributes:
        height, width: of the whole picture after scaling.
        top, left, crop_height, crop_width: the part of it that is kept.
        flip: whether that part is mirrored left to right.
        interpolation: of the scaling, ``bilinear`` or ``bicubic``.
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
    def whole(self) -> Placement:
        """The same scaling, with nothing cut off or mirrored."""
        return replace(self, top=0, left=0, crop_height=self.height, crop_width=self.width, flip=False)

    def cut(self, pictures: np.ndarray) -> np.ndarray:
        """The crop out of whole scaled pictures (…, height, width, 3), not mirrored; a view."""
        bottom, right = self.top + self.crop_height, self.left + self.crop_width
        return pictures[..., self.top : bottom, self.left : right, :]


Placer = Callable[[int, int], Placement]
"""(source height, source width) -> Placement."""


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the short side as given and the aspect kept; the long side is rounded down."""
    if height < width:
        return short_side, max(math.floor(width / height * short_side), short_side)
    return max(math.floor(height / width * short_side), short_side), short_side


def scaled_by(interpolation: str, placer: Placer) -> Placer:
    """The same places with another interpolation."""

    def place(height: int, width: int) -> Placement:
        return replace(placer(height, width), interpolation=interpolation)

    return place


def whole_picture(short_side: int | None = None) -> Placer:
    """The whole picture, scaled to ``short_side`` (None: as it is)."""

    def place(height: int, width: int) -> Placement:
        if short_side is not None:
            height, width = scaled_size(height, width, short_side)
        return Placement(height, width, 0, 0, height, width)

    return place
