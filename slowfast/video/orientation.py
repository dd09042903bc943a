"""The orientation in which a decoded frame is to be shown: one of four turns, mirrored or not.

Of a frame's display matrix, PyAV only offers the angle, which does not tell mirrored frames from turned ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type

from slowfast.log import get_logger, log_once

_logger = get_logger(__name__)

# (a, b, c, d) of the matrices that map a pixel (x, y) to (a x + c y, b x + d y), y downwards.
_ORIENTATIONS = (
    (1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1),
    (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0),
)  # fmt: skip
# Cosine of the angle, 15 degrees, up to which a matrix counts as one of them.
_LEAST_FIT = 0.966


def _unknown_type(cls: type[Type], value: object) -> Type:
    member = object.__new__(cls)
    member._name_, member._value_ = f"TYPE_{value}", value
    return member


# PyAV cannot list the side data of a frame with a kind of data that is newer than its own list, such as Exif.
Type._missing_ = classmethod(_unknown_type)  # type: ignore[assignment, method-assign]


@dataclass(frozen=True)
class Orientation:
    """A turn by a multiple of 90 degrees, and perhaps a mirroring.

    Attributes:
        matrix: (a, b, c, d); the pixel (x, y) of the stored frame is shown at (a x + c y, b x + d y).
    """

    matrix: tuple[int, int, int, int] = _ORIENTATIONS[0]

    @property
    def swaps_sides(self) -> bool:
        """True if rows of the stored frame are columns of the shown one."""
        return self.matrix[0] == 0

    @property
    def filters(self) -> tuple[str, ...]:
        """FFmpeg's filters, as (name, …), that make a stored frame upright."""
        a, b, c, d = self.matrix
        transpose = ("transpose",) if self.swaps_sides else ()  # its default is the plain transpose
        return (*transpose, *(("vflip",) if b + d < 0 else ()), *(("hflip",) if a + c < 0 else ()))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Returns a stored image (H, W, …) as it is to be shown, as a view."""
        a, b, c, d = self.matrix
        if self.swaps_sides:
            image = image.swapaxes(0, 1)
        image = image[::-1] if b + d < 0 else image
        return image[:, ::-1] if a + c < 0 else image


UPRIGHT = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """Returns the orientation in which a decoded frame (``av.VideoFrame``) is to be shown.

    It is the nearest of the eight to the frame's display matrix (which FFmpeg also makes from Exif data).
    """
    # Not `frame.side_data`, which PyAV 18 keeps in the frame: only a garbage collection would free the frame.
    found = SideDataContainer(frame)
    # The length first: looking up what is missing takes longer.
    data = found.get(Type.DISPLAYMATRIX) if len(found) else None
    if data is None:
        return UPRIGHT
    # Nine numbers of 32 bits: a b u, c d v, x y w (ISO/IEC 14496-12, 8.3.2.3).
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].astype(np.float64)
    fits = [np.dot((a, b, c, d), candidate) for candidate in _ORIENTATIONS]
    if max(fits) <= 0:
        return UPRIGHT
    if max(fits) < _LEAST_FIT * np.sqrt(2 * np.dot((a, b, c, d), (a, b, c, d))):
        text = "a display matrix is far from all turns by 90 degrees; frames are shown by the nearest one"
        log_once(_logger, text, logging.WARNING)
    return Orientation(_ORIENTATIONS[int(np.argmax(fits))])
