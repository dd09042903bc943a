"""Decoded frames are turned, scaled, cropped and converted to RGB as the file and the caller ask."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, open_video
from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.placement import Placement, full_frame
from tests.support.odd_files import filter_packets
from tests.support.videos import read_stamps, write_torn, write_video


def test_scale_crop_and_flip_of_a_placement_are_applied(stamped_video: Path) -> None:
    place = Placement(height=32, width=48, top=4, left=10, crop_height=24, crop_width=30)
    mirrored = Placement(*(list(vars(place).values())[:6]), flip=True)
    with open_video(stamped_video) as video:
        full = video.read([5], lambda h, w: Placement(32, 48, 0, 0, 32, 48))
        crop = video.read([5], lambda h, w: place)
        flipped = video.read([5], lambda h, w: mirrored)
    np.testing.assert_array_equal(crop, full[:, 4:28, 10:40])
    np.testing.assert_array_equal(flipped, crop[:, :, ::-1])


def test_scaling_keeps_brightness(tmp_path: Path) -> None:
    """Tests that scaling before the conversion to RGB does not darken: each grey keeps its level."""
    for level in (30, 128, 220):
        grey = [np.full((96, 128, 3), level, np.uint8)] * 2
        path = write_video(tmp_path / f"{level}.mp4", grey)
        assert abs(decode(path, size=48).mean() - decode(path).mean()) < 0.1


def test_interlaced_frames_are_scaled_as_a_whole(tmp_path: Path) -> None:
    """The edges of moving objects would stay torn where both fields are scaled apart."""
    whole = decode(write_torn(tmp_path / "progressive.mp4"), size=48)
    interlaced = write_torn(tmp_path / "interlaced.mp4", x264opts="tff=1")
    np.testing.assert_array_equal(decode(interlaced, size=48), whole)


def write_tagged(path: Path, matrix: int) -> Path:
    """Writes an H.264 video that states its colour matrix (ITU-T H.273, table 4)."""
    plain = write_video(path.with_name(f"plain_{path.name}"), 5)
    return filter_packets(plain, path, f"h264_metadata=matrix_coefficients={matrix}")


@pytest.mark.parametrize("size", [None, 48])
@pytest.mark.parametrize(("matrix", "read_as"), [(3, 2), (8, 2), (10, 9)])
def test_a_colour_matrix_unknown_to_swscale_is_read_as_a_similar_one(
    matrix: int, read_as: int, size: int | None, tmp_path: Path
) -> None:
    """Tests a reserved value, YCgCo, and BT.2020 with constant luminance."""
    frames = decode(write_tagged(tmp_path / "unknown.mp4", matrix), size=size)
    assert read_stamps(frames) == list(range(5))
    np.testing.assert_array_equal(frames, decode(write_tagged(tmp_path / "known.mp4", read_as), size=size))


def test_a_frame_that_cannot_be_converted_has_its_own_class_of_error() -> None:
    class Refusing:
        def reformat(self, *_: object, **__: object) -> None:
            raise av.error.OSError(95, "Operation not supported")

    scaler = FrameScaler(1, full_frame(), "a.mp4")
    scaler._converter = Refusing()
    with pytest.raises(DecodeError, match=r"a\.mp4: not convertible \(yuv420p to RGB: Operation not"):
        scaler.put(av.VideoFrame(64, 64, "yuv420p"), [0])
