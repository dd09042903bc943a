"""Spatial plans: scaled size, crop and flip of a view, the same for all frames of a clip.

A plan is drawn before the video's size is known. It is a :data:`Placer`, a function of that size, which the
decoder calls with the size of the first frame (after rotation).
"""

from __future__ import annotations

import math

import numpy as np

from slowfast.video.placement import Placement, Placer, scaled_by, scaled_size

# Regions drawn before the centre crop is taken because none fits into the image.
_ATTEMPTS = 10


def random_crop(
    short_sides: tuple[int, int],
    crop_size: int,
    rng: np.random.Generator,
    *,
    flip: bool = True,
    inverse_uniform: bool = False,
) -> Placer:
    """Returns a training placement: random short side, random square crop, mirrored half of the time.

    Args:
        short_sides: least and largest short side of the scaled image, pixels.
        crop_size: side of the crop, pixels.
        rng: generator of all random choices.
        flip: mirror half of the clips.
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
    """Returns a training placement: a region of random area and aspect ratio, scaled to a square.

    The method is random resized cropping (Szegedy et al., 2015).

    Args:
        area: least and largest fraction of the image area.
        aspect: least and largest width divided by height, drawn uniformly on a logarithmic scale.
        crop_size: side of the square, pixels.
        rng: generator of all random choices.
        flip: mirror half of the clips.
    """
    # Drawn here, not in `place`: the result must not depend on how often the decoder calls `place`.
    draws, mirror = rng.random((_ATTEMPTS, 4)).tolist(), rng.random()

    def place(height: int, width: int) -> Placement:
        # Default where no attempt fits: the largest centred square.
        region_height, region_width, down, right = min(height, width), min(height, width), 0.5, 0.5
        for area_draw, aspect_draw, down_draw, right_draw in draws:
            # Area and aspect ratio of this attempt give its height and width; the first that fits is used.
            pixels = height * width * (area[0] + area_draw * (area[1] - area[0]))
            ratio = aspect[0] * (aspect[1] / aspect[0]) ** aspect_draw
            drawn = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
            if 0 < drawn[0] <= height and 0 < drawn[1] <= width:
                (region_height, region_width), down, right = drawn, down_draw, right_draw
                break
        # Scale the full image by the factor that makes the region a square of crop_size pixels.
        scaled_height = max(round(height * crop_size / region_height), crop_size)
        scaled_width = max(round(width * crop_size / region_width), crop_size)
        # Place the crop in the scaled image by the same fractions of the free space.
        top = int(down * (scaled_height - crop_size + 1))
        left = int(right * (scaled_width - crop_size + 1))
        mirrored = flip and mirror < 0.5
        return Placement(scaled_height, scaled_width, top, left, crop_size, crop_size, mirrored)

    return place


def fixed_crop(short_side: int, crop_size: int, crop: int = 0, num_crops: int = 1) -> Placer:
    """Returns an evaluation placement: square crop ``crop`` of ``num_crops``, evenly along the long side.

    One crop is the centre; three are left, centre, right (top, centre, bottom where height exceeds width).

    Args:
        short_side: of the scaled image, pixels.
        crop_size: side of the crop, pixels.
    """
    fraction = 0.5 if num_crops == 1 else crop / (num_crops - 1)

    def place(height: int, width: int) -> Placement:
        height, width = scaled_size(height, width, short_side)
        top, left = math.ceil((height - crop_size) / 2), math.ceil((width - crop_size) / 2)
        if height > width:
            top = math.ceil((height - crop_size) * fraction)
        else:
            left = math.ceil((width - crop_size) * fraction)
        return Placement(height, width, top, left, crop_size, crop_size)

    return place


def whole_picture(short_side: int, multiple: int = 1) -> Placer:
    """Returns an evaluation placement: the whole picture, in its own aspect ratio but for rounded sides.

    Args:
        short_side: of the scaled image, pixels.
        multiple: both sides are rounded to the nearest multiple of this many pixels.

    >>> place = whole_picture(96, multiple=16)(90, 120)
    >>> place.height, place.width
    (96, 128)
    """

    def place(height: int, width: int) -> Placement:
        # In integers, so that halves are rounded up on every machine.
        unit = 2 * multiple * min(height, width)
        height, width = (
            multiple * max(1, (2 * side * short_side + unit // 2) // unit) for side in (height, width)
        )
        return Placement(height, width, 0, 0, height, width)

    return place


def evaluated_frame(
    short_side: int, crop_size: int, crop: int, num_crops: int, *, picture_multiple: int, interpolation: str
) -> Placer:
    """Returns an evaluation placement: :func:`fixed_crop`, or :func:`whole_picture` in its place.

    Args:
        picture_multiple: 0: a crop; above 0: the whole picture, its sides multiples of this many pixels.
    """
    if picture_multiple:
        placer = whole_picture(short_side, picture_multiple)
    else:
        placer = fixed_crop(short_side, crop_size, crop, num_crops)
    return scaled_by(interpolation, placer)
