"""Pictures of frames for a page: small JPEG files, and a short video as it is.

T frames, H W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slowfast.datasets.views.sampling import evenly_spaced
from slowfast.video.container import open_container
from slowfast.video.decoding import OpenVideo
from slowfast.video.placement import Placement, Placer

MAX_PICTURES = 120
"""Frames of a filmstrip; of longer videos evenly spaced ones, and those that matter most."""

MAX_VIDEO_BYTES = 6_000_000
# Pixels of the largest picture.
_HEIGHT, _WIDTH = 200, 480
_QUALITY = 80
_CHUNK = 8
# Video codecs and containers that browsers play, with their media types.
_PLAYABLE = {"h264": ("mp4", "video/mp4"), "vp8": ("webm", "video/webm"), "vp9": ("webm", "video/webm"),
             "av1": ("mp4", "video/mp4")}  # fmt: skip


@dataclass(frozen=True)
class Crop:
    """The part of a picture that the model sees, as fractions of its width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of some frames.

    Attributes:
        jpegs: row of the frame among the features -> JPEG file.
        width, height: of each picture in pixels.
        crop: the part that the model sees.
    """

    jpegs: Mapping[int, bytes]
    width: int
    height: int
    crop: Crop


def take_pictures(
    video: OpenVideo, indices: NDArray[np.int64], rows: NDArray[np.int64], placer: Placer
) -> Pictures:
    """Decodes frames in full and scales them down.

    Args:
        indices: (T,) int64, numbers of the frames in the video, by row.
        rows: the rows to take, ascending.
        placer: places the frames that the model sees.

    Raises:
        DecodeError: for a video that cannot be decoded.
    """
    jpegs: dict[int, bytes] = {}
    size = (0, 0)
    crop = Crop(0.0, 0.0, 1.0, 1.0)
    for part in np.array_split(rows, -(-len(rows) // _CHUNK)):
        for row, frame in zip(part.tolist(), video.read(indices[part]), strict=True):
            height, width = frame.shape[:2]
            crop = _crop_of(placer(height, width))
            size = _picture_size(height, width)
            jpegs[row] = encode_picture(frame, size)
    return Pictures(jpegs, *size, crop)


def read_frames(video: OpenVideo, numbers: NDArray[np.int64], placer: Placer) -> NDArray[np.uint8]:
    """Returns the frames (N, H, W, 3) RGB with these numbers (N,), which need not ascend."""
    ascending, place = np.unique(numbers, return_inverse=True)
    return video.read(ascending, placer)[place]


def encode_picture(frame: NDArray[np.uint8], size: tuple[int, int] | None = None) -> bytes:
    """Returns a frame (H, W, 3) uint8 RGB as a JPEG file.

    Args:
        size: width and height in pixels; None: those of the frame.
    """
    image = Image.fromarray(frame)
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def data_uri(content: bytes, media_type: str) -> str:
    """Returns a file as a ``data:`` address, so that a page needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def chosen_rows(num_frames: int, important: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the rows (ascending) that have pictures: evenly spaced ones, and the important ones."""
    return np.union1d(evenly_spaced(num_frames, MAX_PICTURES), important)


def playable_video(path: str | Path) -> str:
    """Returns a video file as a ``data:`` address for a page; empty if it is large, or not for browsers."""
    try:
        if Path(path).stat().st_size > MAX_VIDEO_BYTES:
            return ""
        with open_container(path) as container:
            codec = container.streams.video[0].codec_context.codec.canonical_name
            format_name, media_type = _PLAYABLE.get(codec, ("", ""))
            if not format_name or format_name not in container.format.name:
                return ""
        return data_uri(Path(path).read_bytes(), media_type)
    except (OSError, ValueError, IndexError, av.FFmpegError):
        return ""


def _picture_size(height: int, width: int) -> tuple[int, int]:
    """Returns width and height of the picture of a frame; small frames keep their size."""
    scale = min(1.0, _HEIGHT / height, _WIDTH / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _crop_of(placement: Placement) -> Crop:
    height, width = placement.height, placement.width
    return Crop(
        placement.left / width,
        placement.top / height,
        placement.crop_width / width,
        placement.crop_height / height,
    )
