"""Videos and folders whose frames change their size: no frame depends on its neighbours in a request."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, open_video, stream
from slowfast.video.image_folder import ImageFolder
from slowfast.video.placement import Placement, full_frame
from slowfast.video.pyav_video import PyAVVideo
from tests.support.videos import overwrite_packets, read_stamps, stamp, write_video

HALF = 30  # frames of each size


@pytest.fixture(params=[((64, 64), (96, 128)), ((64, 96), (96, 64))], ids=["larger", "turned"])
def changing(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A stream whose second half has another size, as recordings of calls have."""
    content = b""
    for part, size in enumerate(request.param):
        frames = [stamp(part * HALF + number, *size) for number in range(HALF)]
        content += write_video(tmp_path / f"{part}.ts", frames, gop=10).read_bytes()
    path = tmp_path / "changing.ts"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("short_side", [None, 48])
def test_all_frames_have_the_size_of_the_first_one(changing: Path, short_side: int | None) -> None:
    place = full_frame(short_side)
    with open_video(changing) as video:
        expected = video.read(np.arange(2 * HALF), place)
        assert read_stamps(expected) == list(range(2 * HALF))
        assert video.size == video._packets.stated_size
        for indices in ([40], [40, 5], [5, 40], [59, 0]):
            np.testing.assert_array_equal(video.read(indices, place), expected[indices])
        for first in (0, 35):
            chunks = list(video.read_chunks(np.arange(first, 2 * HALF), 25, place))
            np.testing.assert_array_equal(np.concatenate(chunks), expected[first:])
    with open_video(changing) as video:
        np.testing.assert_array_equal(video.read([40], place), expected[[40]])
    np.testing.assert_array_equal(decode(changing, size=short_side, threads=2), expected)
    np.testing.assert_array_equal(
        decode(changing, indices=[40, 5], size=short_side, threads=2), expected[[40, 5]]
    )
    shapes = {frame.shape for frame in stream(changing, size=short_side)}
    assert shapes == {expected.shape[1:]}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_placement_is_chosen_once_for_a_request(threads: int, tmp_path: Path) -> None:
    """Tests a random crop, which must be the same for all chunks and threads."""
    path = write_video(tmp_path / "a.mp4", 36, gop=6, size=(64, 96))
    sizes = []

    def crop(height: int, width: int) -> Placement:
        sizes.append((height, width))
        return Placement(height, width, len(sizes), 0, 32, 32)

    with open_video(path, threads=threads) as video:
        full = video.read(np.arange(36))
        np.testing.assert_array_equal(video.read(np.arange(36), crop), full[:, 1:33, :32])
        chunks = np.concatenate(list(video.read_chunks(np.arange(36), 10, crop)))
        np.testing.assert_array_equal(chunks, full[:, 2:34, :32])
    assert sizes == [(64, 96)] * 2


def test_ordinary_videos_are_not_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PyAVVideo, "_second", None)
    for rotation in (0, 90):
        path = write_video(tmp_path / f"{rotation}.mp4", 20, size=(64, 96), rotation=rotation)
        with open_video(path) as video:
            assert len(video.read([15, 2])) == 2
            assert len(list(video.read_chunks(np.arange(20), 10))) == 2


def test_the_first_frame_decides_where_the_header_is_wrong(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 20, size=(64, 96))
    with open_video(path) as video:
        video._packets.stated_size = (48, 48)
        assert video.read([15]).shape == (1, 64, 96, 3)


def test_missing_frames_of_a_turned_video_have_the_size_of_the_others(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 36, gop=12, size=(64, 96), rotation=90)
    overwrite_packets(path, path, 12, 24)
    missing: set[int] = set()
    with open_video(path) as video:
        chunks = list(video.read_chunks(np.arange(12, 36), 6, None, missing))
    assert missing == set(range(12, 24))
    assert [chunk.shape for chunk in chunks] == [(6, 96, 64, 3)] * 4


def test_chunks_of_a_folder_have_one_size(tmp_path: Path) -> None:
    for number in range(4):
        image = av.VideoFrame.from_ndarray(stamp(number, 64, 64 if number < 2 else 96), format="rgb24")
        image.save(str(tmp_path / f"{number}.png"))
    folder = ImageFolder(str(tmp_path), fps=25)
    with pytest.raises(DecodeError, match=r"2\.png has another size than the first image"):
        folder.read(np.arange(4))
    chunks = folder.read_chunks(np.arange(4), 2)
    assert read_stamps(next(chunks)) == [0, 1]
    with pytest.raises(DecodeError, match=r"2\.png has another size than the first image"):
        next(chunks)
    assert read_stamps(folder.read([2, 3])) == [2, 3]
