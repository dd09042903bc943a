"""Parts of PyAV's interface that differ between the versions that the project admits."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from av.sidedata.sidedata import Type

from slowfast.video.orientation import UPRIGHT, orientation_of

ONE = 1 << 16  # fixed-point numbers with 16 bits after the point


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((ONE, 0, 0, ONE), (1, 0, 0, 1)),
        ((0, ONE, -ONE, 0), (0, 1, -1, 0)),
        ((-ONE, 0, 0, ONE), (-1, 0, 0, 1)),
    ],
    ids=["upright", "rotated", "mirrored"],
)
def test_the_display_matrix_is_read_by_key(matrix: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Side data is a mapping: iteration yields keys from PyAV 19 on, and values in earlier versions."""
    a, b, c, d = matrix
    numbers = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)
    frame = SimpleNamespace(side_data={Type.DISPLAYMATRIX: numbers.tobytes()})
    assert orientation_of(frame).matrix == expected
    assert orientation_of(SimpleNamespace(side_data={})) == UPRIGHT
