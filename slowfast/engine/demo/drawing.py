"""A copy of a video with the best classes of each moment drawn on it; memory does not grow with its length.

H W pixels, K classes.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slowfast.datasets.class_names import class_text
from slowfast.engine.demo.windows import Window
from slowfast.files import atomic_write
from slowfast.video.placement import Placement
from slowfast.video.pyav_video import PyAVVideo

_CHUNK_FRAMES = 8
_TIME_BASE = Fraction(1, 90000)
_BACKGROUND = (0, 0, 0, 150)
_BAR = (64, 132, 214, 220)
_TEXT = (255, 255, 255, 255)
_NO_SCORES = "not decodable"


@dataclass(frozen=True)
class OutputFormat:
    """The form of the written video.

    Attributes:
        path: of the file; its suffix chooses the container.
        height, width: pixels; 0: that of the video, or in proportion to the other one.
        fps: frames per second; 0 or less: the times of the video's frames.
    """

    path: Path
    height: int = 0
    width: int = 0
    fps: float = -1.0

    def place(self, height: int, width: int) -> Placement:
        """Returns the scaling of frames of a size; both sides become even, as H.264 requires."""
        out_height, out_width = self.height, self.width
        if not out_height and not out_width:
            out_height, out_width = height, width
        out_height = _even(out_height or height * out_width / width)
        out_width = _even(out_width or width * out_height / height)
        return Placement(out_height, out_width, 0, 0, out_height, out_width)


def draw_video(
    video: PyAVVideo,
    windows: Iterator[Window],
    output: OutputFormat,
    overlay: Callable[[int, int], Overlay],
    *,
    on_frames: Callable[[int], object] = lambda count: None,
) -> int:
    """Writes all frames of a video as H.264, each with the classes of the newest window that has started.

    Args:
        windows: in order, from the start of the video on; taken one after another as they are needed.
        overlay: called once with the height and width of the frames.
        on_frames: called with the number of frames of each chunk; an exception ends the work without a file.

    Returns:
        The number of frames that cannot be decoded, which are black.

    Raises:
        DecodeError: where the video cannot be read.
        OSError: where the file cannot be written.
    """
    seconds = video.times.seconds
    numbers = itertools.count()
    missing: set[int] = set()
    with atomic_write(output.path) as partial, av.open(str(partial), "w") as container:
        track: av.VideoStream | None = None
        drawing: Overlay | None = None
        for frames in video.read_chunks(np.arange(len(seconds)), _CHUNK_FRAMES, output.place, missing):
            if track is None or drawing is None:
                height, width = frames.shape[1:3]
                drawing = overlay(height, width)
                panels = _panels(windows, seconds.tolist(), drawing)
                rate = Fraction(output.fps if output.fps > 0 else video.times.fps).limit_denominator(1001)
                track = container.add_stream("libx264", rate=rate, options={"crf": "20"})
                track.height, track.width, track.pix_fmt = height, width, "yuv420p"
                track.codec_context.time_base = _TIME_BASE
            for frame, number, panel in zip(frames, numbers, panels, strict=False):
                encoded = av.VideoFrame.from_ndarray(drawing.draw(frame, panel), format="rgb24")
                moment = number / output.fps if output.fps > 0 else float(seconds[number])
                encoded.pts, encoded.time_base = round(moment / _TIME_BASE), _TIME_BASE
                container.mux(track.encode(encoded))
            on_frames(len(frames))
        if track is not None:
            container.mux(track.encode())
    return len(missing)


def _panels(windows: Iterator[Window], times: Iterable[float], overlay: Overlay) -> Iterator[Image.Image]:
    """Yields the panel of the newest window that has started, for ascending times."""
    drawn, shown, following = None, next(windows), next(windows, None)
    for seconds in times:
        while following is not None and seconds >= following.start - 1e-6:
            shown, following = following, next(windows, None)
        if shown is not drawn:
            drawn, panel = shown, overlay.panel(shown.scores)
        yield panel


def _even(side: float) -> int:
    return max(2 * round(side / 2), 2)


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
