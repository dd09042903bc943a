"""From decoded frames to placed RGB pictures: scaled while still YUV, converted, cropped, flipped."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from slowfast.errors import DecodeError
from slowfast.video.placement import Placement, Placer

# Formats that are scaled as they are; others become RGB and are scaled in one step. (Scaling and
# converting 4:2:0 in one step darkens the picture by about one of 255.)
_SCALED_AS_THEY_ARE = frozenset(
    f"yuv{j}{chroma}p{depth}"
    for j in ("", "j")
    for chroma in (420, 422, 444)
    for depth in ("", "10le", "12le")
) | {"nv12"}

# Matrices of colours that swscale refuses are taken for unspecified, constant luminance for its common twin.
_UNSPECIFIED = 2
_NEAREST = {10: 9}


class FrameScaler:
    """Takes frames of a video and keeps them as placed RGB pictures.

    Args:
        count: T.
        placer: called with the size of the first frame.
        name: of the video, for errors.

    Raises:
        DecodeError: reason ``not convertible`` where a frame of that format cannot become RGB.
    """

    def __init__(self, count: int, placer: Placer, name: str = "a picture") -> None:
        self._count = count
        self._placer = placer
        self._name = name
        self._placement: Placement | None = None
        self._frames = np.empty((0, 0, 0, 3), np.uint8)
        # A reformatter keeps the plan of its last conversion: one for each of the two steps.
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()
        self._refused: set[int] = set()  # matrices of colours

    def put(self, frame: Any, slots: list[int]) -> None:
        """Writes a decoded frame into the given slots (0 … T − 1)."""
        picture = self.view(frame)
        if len(self._frames) != self._count:
            self._frames = np.empty((self._count, *picture.shape), np.uint8)
        for slot in slots:
            self._frames[slot] = picture

    def view(self, frame: Any) -> np.ndarray:
        """A decoded frame as a placed picture (H, W, 3), not yet flipped, in the frame's own memory."""
        turns = frame.rotation // 90 % 4
        if self._placement is None:
            shown = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
            self._placement = self._placer(*shown)
        place = self._placement
        height, width = (place.width, place.height) if turns % 2 else (place.height, place.width)
        picture = self._to_rgb(frame, height, width, place.interpolation)
        if turns:
            picture = np.rot90(picture, k=turns)
        return place.cut(picture)

    def frames(self) -> np.ndarray:
        """Returns what was put: (T, H, W, 3) uint8."""
        if self._placement is None or not self._placement.flip:
            return self._frames
        # Torch flips pixels of three bytes twenty times as fast as numpy.
        return torch.from_numpy(self._frames).flip(2).numpy()

    def _to_rgb(self, frame: Any, height: int, width: int, interpolation: str) -> np.ndarray:
        """A view (H, W, 3) of the frame, scaled and converted."""
        while frame.colorspace in self._refused:
            frame.colorspace = _NEAREST.get(frame.colorspace, _UNSPECIFIED)
        try:
            converted = self._reformat(frame, height, width, interpolation)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            if frame.colorspace == _UNSPECIFIED:
                detail = f"{frame.format.name} to RGB: {error}"
                raise DecodeError(self._name, "not convertible", detail) from error
            self._refused.add(frame.colorspace)
            return self._to_rgb(frame, height, width, interpolation)
        plane = converted.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height]
        return rows[:, : width * 3].reshape(height, width, 3)

    def _reformat(self, frame: Any, height: int, width: int, interpolation: str) -> Any:
        # One thread: starting more costs more than a small picture takes.
        how = {"interpolation": interpolation.upper(), "threads": 1}
        if (frame.height, frame.width) != (height, width) and frame.format.name in _SCALED_AS_THEY_ARE:
            frame = self._scaler.reformat(frame, width, height, **how)
        return self._converter.reformat(frame, width, height, format="rgb24", **how)
