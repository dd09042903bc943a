"""Frames are upright: all eight orientations, in videos and stills, and in smaller copies."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from slowfast.errors import DecodeError
from slowfast.preparation.file_work.transcode import Encoding, transcode
from slowfast.video.decoding import decode, open_video
from slowfast.video.orientation import Orientation
from slowfast.video.still_images import heif
from slowfast.video.torchcodec_video import torchcodec_version
from tests.support.heif import write_heic
from tests.support.odd_files import filter_packets
from tests.support.videos import stamp, write_video

SIZE = (48, 64)
# A corner of its own on each side, so that no two orientations look alike.
IMAGE = stamp(0b0000000100110111, *SIZE)

needs_x265 = pytest.mark.skipif(
    "libx265" not in av.codecs_available, reason="this build of PyAV cannot encode HEVC"
)

# Exif's numbers: the display matrix (a, b, c, d) that shows the stored image upright.
EXIF = {
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Returns the image as Pillow shows a stored one with an Exif orientation."""
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = Image.fromarray(image)
    stored.getexif()[0x112] = orientation
    return np.asarray(ImageOps.exif_transpose(stored))


def assert_alike(frame: np.ndarray, expected: np.ndarray) -> None:
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("orientation", EXIF)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_stills_are_shown_as_exif_says(suffix: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(IMAGE).save(path, exif=exif, quality=95)
    assert_alike(decode(path)[0], upright(IMAGE, orientation))


def write_turned(path: Path, matrix: tuple[float, ...]) -> Path:
    """Writes a video with a display matrix (a, b, c, d)."""
    a, b, c, d = (round(value * 65536) for value in matrix)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "5"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGE, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("orientation", EXIF)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_videos_are_shown_as_their_matrix_says(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = write_turned(tmp_path / f"a.{suffix}", EXIF[orientation])
    expected = upright(IMAGE, orientation)
    for frame in decode(path):
        assert_alike(frame, expected)
    # Scaling and cropping are in the coordinates of the upright frame.
    assert decode(path, size=24).shape[1:3] == ((24, 32) if orientation < 5 else (32, 24))


def write_changing(path: Path, changes: tuple[str | None, ...]) -> Path:
    """Writes a stream of parts with one frame, each of which has a message with its orientation, or none."""
    plain = write_video(path.with_name("plain.mp4"), [IMAGE], crf="5")
    for number, message in enumerate(changes):
        part = path.with_name(f"{number}.ts")
        orientation = f"insert:{message}" if message else "remove"
        filter_packets(plain, part, f"h264_metadata=display_orientation={orientation}")
        with open(path, "ab") as file:
            file.write(part.read_bytes())
    return path


@pytest.mark.parametrize("flips", [(None, "flip=vertical"), ("flip=vertical", None)], ids=str)
def test_an_orientation_that_changes_is_noticed_where_the_angle_stays(
    flips: tuple[str | None, str | None], tmp_path: Path
) -> None:
    path = write_changing(tmp_path / "changing.ts", flips)
    for frame, flip in zip(decode(path), flips, strict=True):
        assert_alike(frame, IMAGE[::-1] if flip else IMAGE)


@pytest.mark.parametrize("turns", [(None, "rotate=90"), ("rotate=90", None)], ids=str)
def test_frames_that_are_turned_midway_have_the_shape_of_the_first_and_are_logged(
    turns: tuple[str | None, str | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one view would have frames of two sizes."""
    path = write_changing(tmp_path / "changing.ts", turns)
    with caplog.at_level(logging.WARNING):
        frames = decode(path)
    height, width = SIZE if turns[0] is None else SIZE[::-1]
    assert frames.shape == (2, height, width, 3)
    for frame, turn in zip(frames, turns, strict=True):
        shown = Image.fromarray(np.rot90(IMAGE) if turn else IMAGE)
        assert_alike(frame, np.asarray(shown.resize((width, height))))
    assert [line for line in caplog.messages if line.startswith(f"{path}: is turned by 90 degrees midway")]


@pytest.mark.parametrize("degrees", [0.4, 89.3, 90.9, 179.6, 180.4, 270.4, 359.5])
@pytest.mark.parametrize("mirrored", [False, True])
def test_angles_near_a_right_angle_count_as_one(degrees: float, mirrored: bool, tmp_path: Path) -> None:
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        matrix[:, 0] *= -1
    path = write_turned(tmp_path / "a.mp4", tuple(matrix.ravel()))
    nearest = np.round(matrix).astype(int)
    orientation = next(number for number, exact in EXIF.items() if exact == tuple(nearest.ravel().tolist()))
    assert_alike(decode(path)[0], upright(IMAGE, orientation))


@pytest.mark.parametrize("orientation", EXIF)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_smaller_copies_are_upright_in_every_container(suffix: str, orientation: int, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = write_turned(tmp_path / "in/a.mp4", EXIF[orientation])
    renamed = path.rename(path.with_suffix(f".{suffix}"))  # FFmpeg reads files by their content
    encoding = Encoding(short_side=48, gop=12, crf=5, preset="ultrafast")
    copy = transcode(
        str(renamed), source_root=str(tmp_path / "in"), target_root=str(tmp_path / "out"), encoding=encoding
    )
    expected = upright(IMAGE, orientation)
    assert (copy.height, copy.width) == expected.shape[:2]
    for frame in decode(tmp_path / f"out/a.{suffix}"):
        assert_alike(frame, expected)


@pytest.mark.parametrize("orientation", EXIF)
def test_filters_turn_as_arrays_are_turned(orientation: int) -> None:
    turned = Orientation(EXIF[orientation])
    assert_alike(turned.apply(IMAGE), upright(IMAGE, orientation))
    graph = av.filter.Graph()
    source = graph.add_buffer(width=64, height=48, format="rgb24", time_base=1)
    nodes = [source, *(graph.add(name) for name in turned.filters), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    frame = av.VideoFrame.from_ndarray(IMAGE, format="rgb24")
    frame.pts = 0
    graph.push(frame)
    np.testing.assert_array_equal(graph.pull().to_ndarray(), turned.apply(IMAGE))  # type: ignore[union-attr]


@needs_x265
@pytest.mark.parametrize("orientation", EXIF)
@pytest.mark.parametrize("layout", [{}, {"coded": (64, 64)}, {"tile": (32, 32)}, {"tile": (64, 64)}], ids=str)
def test_heic_images_have_their_size_and_orientation(
    layout: dict[str, tuple[int, int]], orientation: int, tmp_path: Path
) -> None:
    """Tests images that are smaller than what is coded, and images in tiles, as phones store photos."""
    rotation, mirror = {
        1: (0, None), 2: (0, 1), 3: (180, None), 4: (0, 0),
        5: (90, 0), 6: (270, None), 7: (90, 1), 8: (90, None),
    }[orientation]  # fmt: skip
    path = write_heic(tmp_path / "a.heic", IMAGE, rotation=rotation, mirror=mirror, **layout)
    expected = upright(IMAGE, orientation)
    with open_video(path) as video:
        assert video.times.num_frames == 1
        assert_alike(video.read(np.array([0]))[0], expected)
    assert_alike(decode(io.BytesIO(path.read_bytes()))[0], expected)


@needs_x265
def test_a_heic_image_without_all_of_its_tiles_is_an_error(tmp_path: Path) -> None:
    content = write_heic(tmp_path / "a.heic", IMAGE, tile=(32, 32)).read_bytes()
    at = content.index(b"dimg") + 6
    (tmp_path / "a.heic").write_bytes(content[:at] + b"\0\3" + content[at + 2 :])
    with pytest.raises(DecodeError, match="3 of 4 tiles"):
        decode(tmp_path / "a.heic")


@needs_x265
def test_tiles_that_would_fill_the_memory_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layout may repeat one tile, so that 8 KB stand for gigabytes, of which the image is a small part."""
    path = write_heic(tmp_path / "a.heic", IMAGE, tile=(32, 32))
    monkeypatch.setattr(heif, "_MOST_PIXELS", 4 * 32 * 32 - 1)
    with pytest.raises(DecodeError, match="4 tiles of 32 x 32 pixels; 4,095 pixels are the most"):
        decode(path)


@pytest.mark.skipif(torchcodec_version() is None, reason="torchcodec or FFmpeg's libraries cannot be loaded")
@pytest.mark.parametrize("orientation", [1, 2, 5, 6])
def test_the_other_backend_shows_frames_upright_as_well(orientation: int, tmp_path: Path) -> None:
    path = write_turned(tmp_path / "a.mp4", EXIF[orientation])
    assert_alike(decode(path, backend="torchcodec")[0], upright(IMAGE, orientation))
