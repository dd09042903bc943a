"""A folder of images, read as a video: one image per frame, at an even rate.

T frames, H W pixels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing

import av
import numpy as np

from slowfast.errors import DecodeError
from slowfast.timing.stage_times import DECODING, measure
from slowfast.video.container import open_container, open_error_text, reason_of
from slowfast.video.frame_scaler import FrameScaler, SharedPlacement
from slowfast.video.frame_times import even_times
from slowfast.video.placement import Placer, full_frame
from slowfast.video.still_images import IMAGE_SUFFIXES
from slowfast.video.still_images.damage import UNREADABLE, is_complete_jpeg, is_jpeg_in_tiff, refuse_damage


class ImageFolder:
    """The images of a folder in the order of the numbers in their names; used like an open video file.

    Args:
        path: the folder.
        fps: images per second.
        template: the name of the images with a format field for the number, such as ``img_{:05d}.jpg``;
            empty: all images of the folder.

    Attributes:
        names: of the images, in the order in which they are read.
        times: the display times of the images.

    Raises:
        DecodeError: if the folder is missing, cannot be read, has no image, or has several sequences of
            images and no template to choose one.
    """

    def __init__(self, path: str, fps: float, template: str = "") -> None:
        self.name = path
        try:
            names = [name for name in os.listdir(path) if is_image(name)]
        except OSError as error:
            raise DecodeError(path, reason_of(error), open_error_text(error)) from error
        if template:
            names = _matching(names, template)
        if not names:
            named = f" named {template} (DATA.IMAGE_TEMPLATE)" if template else ""
            endings = ", ".join(sorted(IMAGE_SUFFIXES))
            detail = f"the folder contains no image{named}; names end in {endings}"
            raise DecodeError(path, "no frames", detail)
        if not template and (families := _ambiguous_families(names)):
            raise DecodeError(
                path,
                "several image sequences",
                f"the folder contains {' and '.join(families)}; set DATA.IMAGE_TEMPLATE to one of them, "
                f"such as {_template_of(min(names))!r}",
            )
        self.names = tuple(sorted(names, key=_numbers_first))
        self.times = even_times(len(names), fps)

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes nothing: each image is only open while it is read."""

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Reads the images of the given indices; arguments and result as in :meth:`PyAVVideo.read`.

        Raises:
            DecodeError: with the reason ``corrupt`` if an image cannot be decoded, or differs in size.
            InputError: for an index of an image that does not exist.
        """
        placement = SharedPlacement(placer or full_frame())
        with measure(DECODING):
            return self._read(self.times.checked(indices, self.name), placement, [])

    def _read(self, indices: np.ndarray, placement: SharedPlacement, size: list[int]) -> np.ndarray:
        """Reads images; ``size`` is the height and width of those before, and empty before the first one."""
        slots: dict[int, list[int]] = {}
        for slot, index in enumerate(indices.tolist()):
            slots.setdefault(index, []).append(slot)
        scaler = FrameScaler(len(indices), placement, self.name)
        for index, image_slots in slots.items():
            frame = self._read_image(self.names[index])
            if size and size != [frame.height, frame.width]:
                raise DecodeError(
                    self.name, "corrupt", f"{self.names[index]} has another size than the first image"
                )
            size[:] = frame.height, frame.width
            scaler.put(frame, image_slots)
        return scaler.frames()

    def read_chunks(
        self,
        indices: np.ndarray,
        chunk_frames: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the images in chunks; one that cannot be decoded is an error, whatever ``missing`` is."""
        indices = self.times.checked(indices, self.name)
        placement, image_size = SharedPlacement(placer or full_frame()), list[int]()
        for start in range(0, len(indices), chunk_frames):
            with measure(DECODING):
                frames = self._read(indices[start : start + chunk_frames], placement, image_size)
            yield frames

    def _read_image(self, name: str) -> av.VideoFrame:
        path = os.path.join(self.name, name)
        try:
            with open_container(path) as image:
                if not image.streams.video:
                    raise ValueError("not an image")
                stream = image.streams.video[0]
                is_jpeg = refuse_damage(image, stream)
                with closing(image.demux(stream)) as packets:  # PyAV frees its buffer only then
                    for packet in packets:
                        if is_jpeg and packet.size and not is_complete_jpeg(bytes(packet)):
                            raise ValueError("its end is missing")
                        if stream.codec_context.name == "tiff" and is_jpeg_in_tiff(bytes(packet)):
                            raise ValueError(UNREADABLE)
                        for frame in packet.decode():
                            return frame
                raise ValueError("not an image")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(self.name, "corrupt", f"{name}: {open_error_text(error)}") from error


def is_image(name: str) -> bool:
    """Returns whether a name is that of an image; hidden files, such as macOS' ``._img_1.jpg``, are not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _numbers_first(name: str) -> tuple[list[int], str]:
    """Returns a sort key that puts ``img_2.jpg`` before ``img_10.jpg``."""
    return [int(number) for number in re.findall(r"\d+", os.path.splitext(name)[0])], name


def check_template(template: str) -> str:
    """Returns the problem of a template of image names as part of a sentence; empty for a valid one."""
    try:
        names = {template.format(number) for number in (1, 2)}
    except (ValueError, IndexError, KeyError) as error:
        return f"is not a format of image names ({error}); use a name such as 'img_{{:05d}}.jpg'"
    if len(names) == 1:
        return "has no field for the number; use a name such as 'img_{:05d}.jpg'"
    if not is_image(names.pop()):
        return f"does not end as images do; use {', '.join(sorted(IMAGE_SUFFIXES))}"
    return ""


def _matching(names: list[str], template: str) -> list[str]:
    """Returns the names that the template gives for some number."""
    prefix, suffix = (re.escape(part) for part in re.split(r"\{[^}]*\}", template, maxsplit=1))
    pattern = re.compile(f"{prefix}(\\d+){suffix}")
    numbered = [(name, pattern.fullmatch(name)) for name in names]
    return [name for name, match in numbered if match and template.format(int(match[1])) == name]


def _ambiguous_families(names: list[str]) -> list[str]:
    """Describes the sequences of images of a folder; returns an empty list where there is only one.

    The names of a sequence differ in their numbers alone. Images of several types are one sequence as long as
    no number occurs twice.
    """
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(re.sub(r"\d+", "#", os.path.splitext(name)[0]), []).append(name)
    if len(stems) == 1:
        numbers = {tuple(_numbers_first(name)[0]) for name in names}
        if len(numbers) == len(names):
            return []
        stems = {}
        for name in names:
            stems.setdefault(os.path.splitext(name)[1], []).append(name)
    return [f"{len(family)} images such as {min(family)}" for _, family in sorted(stems.items())]


def _template_of(name: str) -> str:
    """Returns the template of the sequence that a name belongs to; its last number is the field."""
    match = list(re.finditer(r"\d+", os.path.splitext(name)[0]))
    if not match:
        return name
    start, end = match[-1].span()
    return f"{name[:start]}{{:0{end - start}d}}{name[end:]}"
