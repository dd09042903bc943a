"""The best classes of a window as a panel that is drawn on frames. H W pixels, K classes."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slowfast.datasets.class_names import class_text

_BACKGROUND = (0, 0, 0, 150)
_BAR = (64, 132, 214, 220)
_TEXT = (255, 255, 255, 255)
_NO_SCORES = "not decodable"


class Overlay:
    """Draws the best classes with a bar for each score in the upper left corner.

    Args:
        class_names: K names.
        count: number of classes that are shown.
        height, width: of the frames.
    """

    def __init__(self, class_names: Sequence[str], count: int, height: int, width: int) -> None:
        self._names = class_names
        self._count = min(count, len(class_names))
        self._height, self._width = height, width
        # Readable on small frames too, and no larger than the frame has room for.
        self._row = max(min(max(round(height / 18), 14), height // self._count), 6)
        self._font = ImageFont.load_default(size=max(round(0.7 * self._row), 5))

    def panel(self, scores: NDArray[np.float32] | None) -> Image.Image:
        """Returns the panel (RGBA) for scores (K,), at most as wide and as high as the frame."""
        width = min(max(self._width * 2 // 5, 120), self._width)
        lines = [(_NO_SCORES, 0.0)] if scores is None else self._best(scores)
        panel = Image.new("RGBA", (width, min(self._row * len(lines), self._height)), _BACKGROUND)
        draw = ImageDraw.Draw(panel)
        number_width = round(self._font.getlength("0.00")) + 6
        for line, (name, score) in enumerate(lines):
            top = line * self._row
            filled = round((width - 1) * min(max(score, 0.0), 1.0))
            if filled > 0:
                draw.rectangle((0, top + 1, filled, top + self._row - 2), fill=_BAR)
            middle = top + self._row / 2
            if scores is not None:
                draw.text((width - 3, middle), f"{score:.2f}", fill=_TEXT, font=self._font, anchor="rm")
                name = self._shortened(name, width - number_width - 4)
            draw.text((3, middle), name, fill=_TEXT, font=self._font, anchor="lm")
        return panel

    def draw(self, frame: NDArray[np.uint8], panel: Image.Image) -> NDArray[np.uint8]:
        """Returns the frame (H, W, 3) with the panel over it."""
        image = Image.fromarray(frame)
        image.paste(panel, (0, 0), mask=panel)
        return np.asarray(image)

    def _best(self, scores: NDArray[np.float32]) -> list[tuple[str, float]]:
        order = np.argsort(-scores, kind="stable")[: self._count]
        return [(" ".join(class_text(self._names[k], int(k)).split()), float(scores[k])) for k in order]

    def _shortened(self, name: str, width: float) -> str:
        """Returns as much of a name as fits into ``width`` pixels."""
        if self._font.getlength(name) <= width:
            return name
        lengths = range(1, len(name))
        return name[: bisect(lengths, width, key=lambda n: self._font.getlength(name[:n] + "…"))] + "…"
