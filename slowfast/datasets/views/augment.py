"""Augmentation of a training clip's pixels: RandAugment or colour jitter, then random erasing.

Random parameters are drawn once per clip, so that all of its frames are changed alike. T frames, H W pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

# Random erasing: fraction of the image area, and height divided by width.
_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 1 / 0.3)
# Regions drawn before erasing is given up because none fits into the image.
_ATTEMPTS = 10


@dataclass(frozen=True)
class Augmentation:
    """An augmentation of clips; its result depends on the clip and the given generator alone.

    Attributes:
        auto_augment: a RandAugment policy in timm's notation, such as ``rand-m9-mstd0.5-inc1``; empty: none.
        interpolation: of the policy's rotations and shears: ``bilinear``, ``bicubic`` or ``random``.
        color_jitter: brightness, contrast and saturation are multiplied by 1 ± this; 0: no jitter.
        erase_prob: fraction of clips in which regions of the image are erased.
        erase_mode: fill with noise (``pixel``), one random colour (``rand``) or the mean colour (``const``).
        erase_count: maximum number of erased regions.
        mean, std: of the colours, per channel, in 0 … 1; noise is drawn with them.
    """

    auto_augment: str = ""
    interpolation: str = "bicubic"
    color_jitter: float = 0.0
    erase_prob: float = 0.0
    erase_mode: str = "pixel"
    erase_count: int = 1
    mean: Sequence[float] = (0.45, 0.45, 0.45)
    std: Sequence[float] = (0.225, 0.225, 0.225)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a changed copy of a clip (T, H, W, 3) uint8."""
        if self.auto_augment:
            frames = self._apply_auto_augment(frames, int(rng.integers(2**32)))
        if self.color_jitter:
            frames = jitter_color(frames, self.color_jitter, rng)
        if rng.random() < self.erase_prob:
            frames = self._erase(frames, rng)
        return frames

    @cached_property
    def _policy(self) -> Callable[[Any], Any]:
        from PIL import Image
        from timm.data.auto_augment import rand_augment_transform

        settings: dict[str, Any] = {"img_mean": tuple(round(255 * value) for value in self.mean)}
        if self.interpolation != "random":
            settings["interpolation"] = Image.Resampling[self.interpolation.upper()]
        policy = rand_augment_transform(self.auto_augment, settings)
        for operation in policy.ops:
            if operation.name.startswith("Posterize"):
                operation.aug_fn = _posterize
        return policy

    def _apply_auto_augment(self, frames: np.ndarray, seed: int) -> np.ndarray:
        from PIL import Image

        changed = np.empty_like(frames)
        with preserved_generators():
            for frame, output in zip(frames, changed, strict=True):
                # timm draws from the global generators of Python and NumPy: seed them alike for each frame.
                random.seed(seed)
                np.random.seed(seed)
                output[:] = self._policy(Image.fromarray(frame))
        return changed

    def _erase(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Erases random regions (Zhong et al., 2017), the same in all frames."""
        changed = frames.copy()
        count = int(rng.integers(1, self.erase_count + 1))
        for _ in range(count):
            box = _draw_box(*frames.shape[1:3], area_divisor=count, rng=rng)
            if box is None:
                continue
            top, left, height, width = box
            shape = {"pixel": (height, width, 3), "rand": (3,), "const": (3,)}[self.erase_mode]
            noise = 0.0 if self.erase_mode == "const" else rng.standard_normal(shape, np.float32)
            colors = np.asarray(self.mean) + np.asarray(self.std) * noise
            filling = np.clip(np.round(255 * colors), 0, 255).astype(np.uint8)
            changed[:, top : top + height, left : left + width] = filling
        return changed


def jitter_color(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiplies brightness, contrast and saturation, in random order, by factors in 1 ± ``strength``.

    Args:
        frames: (T, H, W, 3) uint8.
    """
    from torchvision.transforms.v2 import functional

    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    factors = rng.uniform(max(0.0, 1 - strength), 1 + strength, len(changes)).tolist()
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, 3, H, W)
    for i in rng.permutation(len(changes)).tolist():
        clip = changes[i](clip, factors[i])
    return np.ascontiguousarray(clip.permute(0, 2, 3, 1).numpy())


def _posterize(image: Any, bits: int, **_: Any) -> Any:
    """Keeps the highest ``bits`` of each colour; none of them: a black image, which Pillow 13 refuses."""
    from PIL import ImageOps

    return image.point(lambda _: 0) if bits < 1 else ImageOps.posterize(image, min(bits, 8))


def _draw_box(
    height: int, width: int, *, area_divisor: int, rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """Draws top, left, height and width of a region to erase; returns None where no attempt fits."""
    for area, aspect, down, right in rng.random((_ATTEMPTS, 4)).tolist():
        fraction = (_ERASED_AREA[0] + area * (_ERASED_AREA[1] - _ERASED_AREA[0])) / area_divisor
        low, high = map(math.log, _ERASED_ASPECT)
        ratio = math.exp(low + aspect * (high - low))
        box_height = round(math.sqrt(fraction * height * width * ratio))
        box_width = round(math.sqrt(fraction * height * width / ratio))
        if 0 < box_height < height and 0 < box_width < width:
            top, left = int(down * (height - box_height + 1)), int(right * (width - box_width + 1))
            return top, left, box_height, box_width
    return None


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Restores the states of the global generators of Python and NumPy afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
