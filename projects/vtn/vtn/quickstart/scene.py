"""The frames of a clip: an object cut out of one photograph, in front of a background cut out of another.

T frames, H W pixels. Sizes of PIL images are (W, H), shapes of arrays (H, W).
"""

from __future__ import annotations

import colorsys
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from vtn.quickstart.motion import Motion

# Fractions of colour and contrast that a background keeps, so that the object stands out in small frames.
BACKGROUND_SATURATION = 0.5
BACKGROUND_CONTRAST = (0.6, 0.9)
# Weight of the object's colour in the blend with its photograph.
OBJECT_TINT = 0.45
# Margin around the background for the camera's shift, as a fraction of the shorter side.
MARGIN = 0.12
SPRITE_SIDE = 96
_GRAIN_SIDE = 256
_BILINEAR = Image.Resampling.BILINEAR


class Sprite(NamedTuple):
    """A cut-out object of S × S pixels.

    Attributes:
        colours: RGB image.
        coverage: grey image, 255 where the object hides the background and 0 where it does not.
    """

    colours: Image.Image
    coverage: Image.Image

    def resized(self, side: int) -> Sprite:
        """Returns the object scaled to ``side`` × ``side`` pixels."""
        return Sprite(*(layer.resize((side, side), _BILINEAR) for layer in self))


def draw_frames(
    motion: Motion,
    background: Image.Image,
    object_photograph: Image.Image,
    size: tuple[int, int],
    noise: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Returns (T, H, W, 3) RGB frames.

    Args:
        motion: motion of the object and the camera over T frames.
        background, object_photograph: RGB photographs.
        size: (H, W) of a frame.
        noise: standard deviation of the camera's noise, on the scale 0 to 255.
        rng: random generator of the cuts and the noise.
    """
    height, width = size
    short = min(size)
    backdrop = cut_backdrop(background, size, rng)
    sprite = cut_sprite(object_photograph, rng)
    stamps: dict[int, Sprite] = {}  # diameter -> scaled object; most objects keep one diameter
    grain = (noise * _unit_grain()).astype(np.int16)
    frames = np.empty((len(motion.size), height, width, 3), np.uint8)
    for t in range(len(frames)):
        left, top = (MARGIN + motion.camera[t]) * short
        view = backdrop.resize((width, height), _BILINEAR, box=(left, top, left + width, top + height))
        diameter = max(2, round(motion.size[t] * short))
        if diameter not in stamps:
            stamps[diameter] = sprite.resized(diameter)
        corner = np.array([width, height]) / 2 + motion.centre[t] * short - diameter / 2
        _stamp(view, stamps[diameter], (round(corner[0]), round(corner[1])), motion.opacity[t])
        frames[t] = _add_grain(np.asarray(view), grain, rng)
    return frames


def cut_backdrop(photograph: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Returns a random window of the photograph in muted colours, with a margin for the camera's shift."""
    margin = 2 * MARGIN * min(size)
    wanted = (round(size[1] + margin), round(size[0] + margin))
    largest = min(photograph.width / wanted[0], photograph.height / wanted[1])
    scale = largest * rng.uniform(0.55, 1.0)
    width, height = wanted[0] * scale, wanted[1] * scale
    left, top = rng.uniform(0, photograph.width - width), rng.uniform(0, photograph.height - height)
    window = photograph.resize(wanted, _BILINEAR, box=(left, top, left + width, top + height))
    pixels = np.asarray(window, np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    muted = grey + BACKGROUND_SATURATION * (pixels - grey)
    muted = 128.0 + rng.uniform(*BACKGROUND_CONTRAST) * (muted - 128.0) + rng.uniform(-15, 15)
    return Image.fromarray(np.clip(muted, 0, 255).astype(np.uint8))


def cut_sprite(photograph: Image.Image, rng: np.random.Generator) -> Sprite:
    """Returns a disc or a rounded square of the photograph, tinted in a bright colour and rimmed with it."""
    side = min(photograph.size) * rng.uniform(0.2, 0.6)
    left, top = rng.uniform(0, photograph.width - side), rng.uniform(0, photograph.height - side)
    shape = (SPRITE_SIDE, SPRITE_SIDE)
    piece = photograph.resize(shape, _BILINEAR, box=(left, top, left + side, top + side))
    colour = 255.0 * np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.85, 1), rng.uniform(0.85, 1)))
    pixels = np.asarray(piece, np.float32)
    tinted = Image.fromarray((pixels + OBJECT_TINT * (colour - pixels)).astype(np.uint8))
    roundness = float(rng.choice([0.25, 0.5, 1.0]))  # 1: a disc
    colours = Image.new("RGB", shape, tuple(int(c) for c in colour))
    colours.paste(tinted, (0, 0), _rounded_square(SPRITE_SIDE // 8, roundness))
    return Sprite(colours, _rounded_square(3, roundness).filter(ImageFilter.GaussianBlur(1)))


def _rounded_square(inset: int, roundness: float) -> Image.Image:
    """Returns a mask that is 255 inside a square whose edge is ``inset`` pixels from the sprite's edge."""
    mask = Image.new("L", (SPRITE_SIDE, SPRITE_SIDE), 0)
    far = SPRITE_SIDE - 1 - inset
    radius = roundness * (far - inset) / 2
    ImageDraw.Draw(mask).rounded_rectangle((inset, inset, far, far), radius=radius, fill=255)
    return mask


def _stamp(view: Image.Image, stamp: Sprite, corner: tuple[int, int], opacity: float) -> None:
    """Draws the object on a frame, its upper left corner at ``corner`` (x, y), which may be outside."""
    coverage = stamp.coverage
    if opacity < 1.0:
        coverage = Image.fromarray((opacity * np.asarray(coverage)).astype(np.uint8))
    view.paste(stamp.colours, corner, coverage)


@cache
def _unit_grain() -> NDArray[np.float32]:
    """Returns an array of Gaussian noise with standard deviation 1, larger than every frame."""
    return np.random.default_rng(0).standard_normal((_GRAIN_SIDE, _GRAIN_SIDE, 3), np.float32)


def _add_grain(
    frame: NDArray[np.uint8], grain: NDArray[np.int16], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Returns the frame plus a random window of the grain, so that frames differ in their noise."""
    height, width, _ = frame.shape
    top = rng.integers(0, _GRAIN_SIDE - height + 1)
    left = rng.integers(0, _GRAIN_SIDE - width + 1)
    return np.clip(frame + grain[top : top + height, left : left + width], 0, 255).astype(np.uint8)
