"""Conversion of decoded frames to placed RGB frames: scaled while still YUV, converted, cropped, flipped."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from slowfast.errors import DecodeError
from slowfast.timing.stage_times import TRANSFORMING, measure
from slowfast.video.orientation import UPRIGHT, orientation_of
from slowfast.video.placement import Placement, Placer

# Pixel formats that are scaled before the conversion to RGB; frames of other formats are scaled and
# converted in one step. (For 4:2:0, that one step darkens a frame by about one of 255.)
_SCALED_IN_YUV = frozenset(
    f"yuv{j}{chroma}p{depth}"
    for j in ("", "j")
    for chroma in (420, 422, 444)
    for depth in ("", "10le", "12le")
) | {"nv12"}

# Colour matrices (ITU-T H.273, table 4) that swscale refuses are read as unspecified; BT.2020 with constant
# luminance is read as BT.2020 with non-constant luminance.
_UNSPECIFIED = 2
_NEAREST = {10: 9}


class FrameScaler:
    """A buffer of T placed RGB frames, filled with decoded frames one by one.

    Args:
        count: T.
        placer: called with the size of the first frame.
        name: of the video, for errors.

    Raises:
        DecodeError: with the reason ``not convertible`` if a frame of that format cannot become RGB.
    """

    def __init__(self, count: int, placer: Placer, name: str = "a frame") -> None:
        self._count = count
        self._placer = placer
        self._name = name
        self._placement: Placement | None = None
        self._frames = np.empty((0, 0, 0, 3), np.uint8)
        # A reformatter keeps the plan of its last conversion: one for each of the two steps.
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()
        self._refused: set[int] = set()  # colour matrices
        self._orientation = UPRIGHT
        self._angle: int | None = None  # of the last frame; another angle is another orientation

    def put(self, frame: Any, slots: list[int]) -> None:
        """Writes a decoded frame into the given slots (0 … T − 1)."""
        with measure(TRANSFORMING):
            image = self.view(frame)
            if len(self._frames) != self._count:
                self._frames = np.empty((self._count, *image.shape), np.uint8)
            for slot in slots:
                self._frames[slot] = image

    def view(self, frame: Any) -> np.ndarray:
        """Returns a placed image (H, W, 3) in the memory of the converted frame, without the flip."""
        # The placement is stated for the upright frame; the scaling works on the stored one.
        if frame.rotation != self._angle:
            self._orientation, self._angle = orientation_of(frame), frame.rotation
        is_swapped = self._orientation.swaps_sides
        if self._placement is None:
            upright = (frame.width, frame.height) if is_swapped else (frame.height, frame.width)
            self._placement = self._placer(*upright)
        place = self._placement
        height, width = (place.width, place.height) if is_swapped else (place.height, place.width)

        image = self._to_rgb(frame, height, width, place.interpolation)
        return place.crop(self._orientation.apply(image))

    def frames(self) -> np.ndarray:
        """Returns the frames that were put: (T, H, W, 3) uint8."""
        if self._placement is None or not self._placement.flip:
            return self._frames
        with measure(TRANSFORMING):
            # Torch flips pixels of three bytes twenty times as fast as numpy.
            return torch.from_numpy(self._frames).flip(2).numpy()

    def _to_rgb(self, frame: Any, height: int, width: int, interpolation: str) -> np.ndarray:
        """Returns the frame scaled and converted, as a view (H, W, 3) of the converted frame's memory."""
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
        # The rows of a plane are padded to `line_size` bytes.
        plane = converted.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height]
        return rows[:, : width * 3].reshape(height, width, 3)

    def _reformat(self, frame: Any, height: int, width: int, interpolation: str) -> Any:
        # One thread: for small frames, starting more threads takes longer than the conversion.
        options = {"interpolation": interpolation.upper(), "threads": 1}
        if (frame.height, frame.width) != (height, width) and frame.format.name in _SCALED_IN_YUV:
            frame = self._scaler.reformat(frame, width, height, **options)
        return self._converter.reformat(frame, width, height, format="rgb24", **options)
