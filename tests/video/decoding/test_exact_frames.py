"""Decoding gives exactly the requested frames for every codec and container.

Each frame shows its number; the expected pixels are those of a plain decode of all frames in order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slowfast.video.decoding import decode, describe_backend, open_video, stream
from slowfast.video.torchcodec_video import torchcodec_version
from tests.support.decoding.encodings import ENCODINGS, FRAMES
from tests.support.odd_files import decode_in_order
from tests.support.videos import read_stamp, read_stamps, stamp, write_video


@pytest.mark.parametrize("name", ENCODINGS)
def test_chosen_frames_are_exact(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"size": (64, 96), **ENCODINGS[name]}
    path = write_video(tmp_path / name, FRAMES, **options)
    truth = decode_in_order(path)
    assert read_stamps(truth) == list(range(FRAMES)), "the video of this test is wrong"
    rng = np.random.default_rng(0)
    with open_video(path) as video:
        assert video.times.num_frames == FRAMES
        assert video.times.fps == pytest.approx(25, rel=0.02)
        for count in (1, 2, 5, 5, FRAMES):
            indices = rng.choice(FRAMES, count, replace=False)
            np.testing.assert_array_equal(video.read(indices), truth[indices])
    # The packets of a large file are not kept in memory but read again from the key frame on.
    monkeypatch.setattr("slowfast.video.frame_table.scan._KEEP_BYTES", 0)
    with open_video(path) as video:
        for first in (30, 3, 17):
            np.testing.assert_array_equal(video.read([first, first + 4]), truth[[first, first + 4]])
    assert read_stamps(decode(path, indices=[0, 13, FRAMES - 1], size=48)) == [0, 13, FRAMES - 1]
    assert read_stamps(stream(path)) == list(range(FRAMES))


@pytest.mark.usefixtures("keep_bytes")
@pytest.mark.parametrize("name", ["h264-open.mp4", "h264-b.avi", "vp8.webm"])
def test_chunks_are_read_in_one_pass_over_the_video(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, **{"size": (64, 96), **ENCODINGS[name]})
    indices = np.arange(1, FRAMES, 3)
    with open_video(path) as video:
        chunks = list(video.read_chunks(indices, 4))
        assert [len(chunk) for chunk in chunks] == [4, 4, 4, 1]
        assert read_stamps(np.concatenate(chunks)) == indices.tolist()
        assert read_stamps(video.read([39, 0, 14])) == [39, 0, 14]


@pytest.mark.parametrize("name", ["h264-b.mp4", "h264-b.avi"])
def test_a_request_for_no_frames_gives_no_chunks(name: str, tmp_path: Path) -> None:
    """Tests an empty request, as after an interruption behind the last chunk of a video."""
    with open_video(write_video(tmp_path / name, FRAMES, **ENCODINGS[name])) as video:
        assert (video.pts is None) == name.endswith(".avi")
        assert list(video.read_chunks(np.arange(0), 8)) == []


@pytest.mark.skipif(torchcodec_version() is None, reason="torchcodec or FFmpeg's libraries cannot be loaded")
@pytest.mark.parametrize("name", ENCODINGS)
def test_torchcodec_gives_the_same_frames(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, **{"size": (64, 96), **ENCODINGS[name]})
    indices = [0, 7, 30, 31, FRAMES - 1]
    ours, theirs = (decode(path, indices=indices, backend=backend) for backend in ("pyav", "torchcodec"))
    # For more than 8 bits, or more colour than 4:2:0, the two libraries convert to RGB differently.
    assert np.abs(ours.astype(int) - theirs).mean() < (1.5 if ENCODINGS[name].get("pix_fmt") else 1e-9)
    assert read_stamps(decode(path, indices=indices, size=48, backend="torchcodec")) == indices


def test_pyav_decodes_where_torchcodec_cannot_be_loaded(
    stamped_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slowfast.video.torchcodec_video.torchcodec_version", lambda: None)
    assert read_stamps(decode(stamped_video, indices=[3, 44], backend="torchcodec")) == [3, 44]
    assert "PyAV" in describe_backend("torchcodec")


def test_frames_may_repeat_and_come_in_any_order(stamped_video: Path) -> None:
    assert read_stamps(decode(stamped_video, indices=[30, 2, 2, 59, 30])) == [30, 2, 2, 59, 30]


def test_stamps_are_read_as_they_were_written() -> None:
    assert [read_stamp(stamp(i, 48, 80)) for i in (0, 1, 255, 4097, 65535)] == [0, 1, 255, 4097, 65535]
