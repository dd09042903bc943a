"""Real encoded videos for tests: each frame shows its number as a pattern of black and white cells."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

CELLS = 4  # CELLS × CELLS bits
BITS = CELLS * CELLS


def stamp(number: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Returns an image (H, W, 3) uint8 that shows ``number`` (below 65536), robust to compression."""
    bits = (number >> np.arange(BITS)) & 1
    rows = np.arange(height) * CELLS // height
    columns = np.arange(width) * CELLS // width
    grey = np.where(bits.reshape(CELLS, CELLS)[rows][:, columns], 210, 45).astype(np.uint8)
    # A moving gradient, so that frames differ everywhere and the encoder has motion to predict.
    gradient = (np.arange(width) + 3 * number) % 32
    return np.repeat((grey + gradient.astype(np.uint8))[..., None], 3, axis=2)


def read_stamp(image: np.ndarray) -> int:
    """Returns the number that an image (H, W, 3) of any size shows."""
    height, width = image.shape[:2]
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, CELLS)
        cell = image[
            int((row + 0.3) * height / CELLS) : int((row + 0.7) * height / CELLS) + 1,
            int((column + 0.3) * width / CELLS) : int((column + 0.7) * width / CELLS) + 1,
        ]
        number |= int(cell.mean() > 140) << bit
    return number


def read_stamps(images: Iterable[np.ndarray]) -> list[int]:
    """Returns the numbers that the images show."""
    return [read_stamp(image) for image in images]


def write_video(
    path: Path | str,
    frames: int | Sequence[np.ndarray] = 30,
    *,
    fps: int | Fraction = 25,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 64),
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    ticks: Sequence[int] | None = None,
    rotation: int = 0,
    container_format: str | None = None,
    container_options: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Encodes a video; returns its path.

    Args:
        frames: images (H, W, 3) uint8 RGB, or the number of stamped frames.
        size: (height, width) of stamped frames.
        gop: frames from one key frame to the next.
        ticks: timestamps of the frames in units of 1 / 1000 s, for variable frame rates.
        rotation: display rotation in degrees, as stored in the container.
        options: options of the encoder, for instance ``bf="2"``.
    """
    settings = {
        "fps": Fraction(fps), "codec": codec, "pix_fmt": pix_fmt, "gop": gop, "rotation": rotation,
        "ticks": None if ticks is None else tuple(ticks), "container_format": container_format,
        "container_options": tuple(sorted((container_options or {}).items())),
        "options": tuple(options.items()),
    }  # fmt: skip
    path = Path(path)
    if isinstance(frames, int):
        path.write_bytes(_stamped(path.suffix, frames, size, **settings))
    else:
        _encode(path, frames, **settings)
    return path


def write_torn(path: Path, **options: str) -> Path:
    """Writes a lossless video whose second field shows an object 16 pixels aside; returns its path."""
    images = [stamp(i, 96, 128) for i in range(4)]
    for image in images:
        image[1::2] = np.roll(image[1::2], 16, axis=1)
    return write_video(path, images, qp="0", **options)


@lru_cache(maxsize=512)
def _stamped(suffix: str, frames: int, size: tuple[int, int], **settings: Any) -> bytes:
    """Returns the file of stamped frames, which is encoded once per process: many tests ask for the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"video{suffix}")
        _encode(path, [stamp(i, *size) for i in range(frames)], **settings)
        return path.read_bytes()


@contextmanager
def _same_scheduling() -> Iterator[None]:
    """Gives the thread its scheduling back, which SVT-AV1 changes to real time where it may, as for root.

    Processes that the thread starts would inherit it, and two of them that wait in a loop stop the computer.
    """
    if not hasattr(os, "sched_getscheduler"):  # other systems than Linux
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


@_same_scheduling()
def _encode(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    fps: Fraction,
    codec: str,
    pix_fmt: str,
    gop: int,
    ticks: Sequence[int] | None,
    rotation: int,
    container_format: str | None,
    container_options: tuple[tuple[str, str], ...],
    options: tuple[tuple[str, str], ...],
) -> None:
    height, width = images[0].shape[:2]
    with av.open(str(path), "w", format=container_format, options=dict(container_options)) as container:
        defaults = {"preset": "ultrafast"} if codec in ("libx264", "libx265") else {}
        stream = container.add_stream(codec, rate=fps, options=defaults | dict(options))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.gop_size = gop
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            if ticks is not None:
                frame.pts, frame.time_base = ticks[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_csv(path: Path | str, videos: Iterable[tuple[Path | str, int]], separator: str = " ") -> Path:
    """Writes an annotation file with a line ``path label`` per video; returns its path."""
    Path(path).write_text("".join(f"{video}{separator}{label}\n" for video, label in videos))
    return Path(path)


def overwrite_packets(source: Path, path: Path, first: int, end: int) -> Path:
    """Copies a video with the packets ``first`` … ``end − 1`` overwritten with zeros; returns the copy."""
    with av.open(str(source)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(source.read_bytes())
    for start, size in packets[first:end]:
        content[start : start + size] = bytes(size)
    path.write_bytes(content)
    return path
