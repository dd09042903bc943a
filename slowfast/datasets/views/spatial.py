"""Where a view lies in the picture: scaled size, crop and flip, the same for all frames of a clip.

A plan is made before the video's size is known and gives a :data:`Placer`, a function of that size, which
the decoder calls with the size of the first frame (after rotation).
"""

from __future__ import annotations

import math

import numpy as np

from slowfast.video.placement import Placement, Placer, scaled_size

# Parts drawn until one fits into the picture.
_ATTEMPTS = 10


def random_crop(
    short_sides: tuple[int, int],
    crop_size: int,
    rng: np.random.Generator,
    *,
    flip: bool = True,
    inverse_uniform: bool = False,
) -> Placer:
    """Training: a short side drawn from [low, high], a square crop anywhere, mirrored half of the time.

    Args:
        inverse_uniform: draw the inverse of the short side uniformly instead of the short side.
    """
    low, high = short_sides
    if inverse_uniform:
        short_side = round(1.0 / rng.uniform(1.0 / high, 1.0 / low))
    else:
        short_side = round(rng.uniform(low, high))
    down, right, mirror = rng.random(3)

    def place(height: int, width: int) -> Placement:
        height, width = scaled_size(height, width, short_side)
        top = int(down * (height - crop_size + 1))
        left = int(right * (width - crop_size + 1))
        return Placement(height, width, top, left, crop_size, crop_size, flip and bool(mirror < 0.5))

    return place


def random_resized_crop(
    area: tuple[float, float],
    aspect: tuple[float, float],
    crop_size: int,
    rng: np.random.Generator,
    *,
    flip: bool = True,
) -> Placer:
    """Training: a part of random area and aspect, scaled to a square, mirrored half of the time.

    Args:
        area: least and largest share of the picture.
        aspect: least and largest width over height, drawn evenly on a logarithmic scale.
    """
    draws, mirror = rng.random((_ATTEMPTS, 4)).tolist(), rng.random()

    def place(height: int, width: int) -> Placement:
        part_height, part_width, down, right = min(height, width), min(height, width), 0.5, 0.5
        for share, shape, down_drawn, right_drawn in draws:
            pixels = height * width * (area[0] + share * (area[1] - area[0]))
            ratio = aspect[0] * (aspect[1] / aspect[0]) ** shape
            drawn = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
            if 0 < drawn[0] <= height and 0 < drawn[1] <= width:
                (part_height, part_width), down, right = drawn, down_drawn, right_drawn
                break
        # The whole picture is scaled so that the part becomes the crop.
        scaled_height = max(round(height * crop_size / part_height), crop_size)
        scaled_width = max(round(width * crop_size / part_width), crop_size)
        top = int(down * (scaled_height - crop_size + 1))
        left = int(right * (scaled_width - crop_size + 1))
        mirrored = flip and mirror < 0.5
        return Placement(scaled_height, scaled_width, top, left, crop_size, crop_size, mirrored)

    return place


def fixed_crop(short_side: int, crop_size: int, crop: int = 0, num_crops: int = 1) -> Placer:
    """Evaluation: square crop number ``crop`` of ``num_crops`` placed evenly along the long side.

    One crop is the centre; three are left, centre, right (top, centre, bottom in upright pictures).
    """
    share = 0.5 if num_crops == 1 else crop / (num_crops - 1)

    def place(height: int, width: int) -> Placement:
        height, width = scaled_size(height, width, short_side)
        top, left = math.ceil((height - crop_size) / 2), math.ceil((width - crop_size) / 2)
        if height > width:
            top = math.ceil((height - crop_size) * share)
        else:
            left = math.ceil((width - crop_size) * share)
        return Placement(height, width, top, left, crop_size, crop_size)

    return place
