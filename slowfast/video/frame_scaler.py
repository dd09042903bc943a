"""Conversion of decoded frames to placed RGB frames: scaled while still YUV, converted, cropped, flipped."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import av
import av.video.frame
import numpy as np
import torch
from av.filter import Graph
from av.video.reformatter import VideoReformatter

from slowfast.errors import DecodeError
from slowfast.log import get_logger, log_once
from slowfast.timing.stage_times import TRANSFORMING, measure
from slowfast.video.container import open_error_text
from slowfast.video.orientation import Orientation, orientation_of
from slowfast.video.placement import Placement, Placer

_logger = get_logger(__name__)

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


class SharedPlacement:
    """The placement of all frames of a request, whichever of them is decoded first, and by which thread.

    Args:
        placer: called once, with the upright size of the video's first frame.
        stored_size: returns the (height, width) of the video's first frame as stored, given any frame; None:
            all frames have the size of the one that is given first.
    """

    def __init__(self, placer: Placer, stored_size: Callable[[Any], tuple[int, int]] | None = None) -> None:
        self._placer = placer
        self._stored_size = stored_size
        self._lock = threading.Lock()
        self._placement: Placement | None = None
        self._swaps_sides: bool | None = None

    def of(self, frame: Any, orientation: Orientation, name: str) -> Placement:
        """Returns the placement of a decoded frame; a turn by 90 degrees after other frames is logged."""
        if self._swaps_sides is None:
            self._swaps_sides = orientation.swaps_sides
        elif self._swaps_sides != orientation.swaps_sides:
            log_once(
                _logger,
                f"{name}: is turned by 90 degrees midway; all frames are scaled to the shape of the first; "
                "cut the video there with another program",
                logging.WARNING,
            )
        if self._placement is None:
            height, width = self._stored_size(frame) if self._stored_size else (frame.height, frame.width)
            return self.of_size(*((width, height) if orientation.swaps_sides else (height, width)))
        return self._placement

    def of_size(self, height: int, width: int) -> Placement:
        """Returns the placement; chooses it by this upright size, unless it is chosen already."""
        with self._lock:
            if self._placement is None:
                self._placement = self._placer(height, width)
        return self._placement


class FrameScaler:
    """A buffer of T placed RGB frames, filled with decoded frames one by one.

    Frames of another size than that of the placement are scaled to it, without regard to their aspect.

    Args:
        count: T.
        placer: called with the size of the first frame; or a placement that other scalers use as well.
        name: of the video, for errors.

    Raises:
        DecodeError: with the reason ``not convertible`` if a frame of that format cannot become RGB.
    """

    def __init__(self, count: int, placer: Placer | SharedPlacement, name: str = "a frame") -> None:
        self._count = count
        self._shared = placer if isinstance(placer, SharedPlacement) else SharedPlacement(placer)
        self._name = name
        self._placement: Placement | None = None
        self._frames = np.empty((0, 0, 0, 3), np.uint8)
        # A reformatter keeps the plan of its last conversion: one for each of the two steps.
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()
        self._refused: set[int] = set()  # colour matrices

    def put(self, frame: Any, slots: list[int]) -> None:
        """Writes a decoded frame into the given slots (0 … T − 1); the first damaged one is logged."""
        if frame.is_corrupt:
            log_once(
                _logger,
                f"{self._name}: has a damaged frame, which is used as the decoder repaired it; "
                "`slowfast prepare scan` finds such videos",
                logging.WARNING,
            )
        with measure(TRANSFORMING):
            image = self.view(frame)
            if len(self._frames) != self._count:
                self._frames = np.empty((self._count, *image.shape), np.uint8)
            for slot in slots:
                self._frames[slot] = image

    def view(self, frame: Any) -> np.ndarray:
        """Returns a placed image (H, W, 3) in the memory of the converted frame, without the flip."""
        # The placement is stated for the upright frame; the scaling works on the stored one.
        orientation = orientation_of(frame)
        is_swapped = orientation.swaps_sides
        place = self._placement = self._shared.of(frame, orientation, self._name)
        height, width = (place.width, place.height) if is_swapped else (place.height, place.width)

        image = self._to_rgb(as_progressive(frame), height, width, place.interpolation)
        return place.crop(orientation.apply(image))

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
                detail = f"{frame.format.name} to RGB: {open_error_text(error)}"
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


def as_progressive(frame: Any) -> Any:
    """Returns a frame on the same memory that is not marked as interlaced.

    Of an interlaced one swscale would scale both fields apart, which leaves moving objects torn in the small
    frame. The ``ffmpeg`` command and other readers scale it as a whole.
    """
    if not frame.interlaced_frame:
        return frame
    graph = Graph()
    graph.threads = 1  # without a pool of threads, which would take longer to start
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    graph.link_nodes(source, graph.add("setfield", "prog"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def _free_scalers_of_threads() -> None:
    """Frees the scalers that PyAV 19 keeps per thread, such as for ``to_ndarray`` in the user's program.

    A forked process would free those of other threads, and wait for ever for threads that it does not have.
    """
    if hasattr(av.video.frame, "_thread_local"):
        av.video.frame._thread_local = threading.local()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=_free_scalers_of_threads)
