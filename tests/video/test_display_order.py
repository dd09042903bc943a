"""Frames come in the order in which they are shown, whatever the timestamps of the file say.

The expected frames are those of a plain decode in order; each frame shows its number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, open_video, stream
from tests.support.odd_files import (
    FRAMES,
    H264,
    HEVC,
    SIZE,
    assert_frames_are,
    decode_in_order,
    exchange_times,
    ffmpeg,
    has_encoder,
    remux,
    shift,
    write_at_ticks,
)
from tests.support.videos import read_stamps, write_video


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AVI as XviD and DivX write it: bidirectional frames packed behind others."""
    if not has_encoder("libxvid"):
        pytest.skip("the ffmpeg command has no libxvid")
    folder = tmp_path_factory.mktemp("packed")
    source = write_video(folder / "source.mkv", 73, size=(120, 160), gop=1, crf="4")
    ffmpeg("-i", source, "-c:v", "libxvid", "-q:v", "2", "-bf", "2", "-g", "25", folder / "packed.avi")
    return folder / "packed.avi"


@pytest.mark.usefixtures("keep_bytes")
def test_packed_bidirectional_frames_are_in_display_order(packed: Path) -> None:
    truth = decode_in_order(packed)
    times = assert_frames_are(packed, truth, singles=20)
    assert times.duration == pytest.approx(73 / 25, abs=0.1)
    assert read_stamps(stream(packed)) == read_stamps(truth)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "nut", "m4v"])
@pytest.mark.parametrize("flags", [(), ("-fflags", "+genpts")], ids=["as it is", "with guessed times"])
def test_packed_bidirectional_frames_in_other_containers_are_in_display_order(
    packed: Path, suffix: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    copy = tmp_path / f"copy.{suffix}"
    try:
        ffmpeg(*flags, "-i", packed, "-c", "copy", copy)
    except Exception:
        pytest.skip("this version of ffmpeg does not copy packets without display times")
    assert_frames_are(copy, decode_in_order(copy))


@pytest.mark.usefixtures("keep_bytes")
@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264"])
@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
def test_guessed_display_times_are_replaced(codec: str, suffix: str, tmp_path: Path) -> None:
    """Tests streams of AVI, and copies that keep FFmpeg's guess: each frame is shown when it is decoded."""
    source = write_video(tmp_path / "source.avi", FRAMES, size=SIZE, codec=codec, bf="2", gop=12)

    def guess(number: int, packet: Any) -> None:
        packet.dts = number
        packet.pts = number if suffix == "mkv" else number + 1

    copy = source if suffix == "avi" else remux(source, tmp_path / f"copy.{suffix}", guess)
    truth = decode_in_order(copy)
    assert read_stamps(truth) == list(range(FRAMES)), "the video of this test is wrong"
    assert_frames_are(copy, truth)


@pytest.mark.usefixtures("keep_bytes")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.h264", H264),
        ("a.hevc", HEVC),
        ("a.m2v", {"codec": "mpeg2video", "bf": "2", "container_format": "mpeg2video"}),
        ("a.m4v", {"codec": "mpeg4", "bf": "2", "container_format": "m4v"}),
    ],
)
def test_raw_streams_are_in_display_order(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, size=SIZE, **options)
    truth = decode_in_order(path)
    assert read_stamps(truth) == list(range(FRAMES)), "the video of this test is wrong"
    assert_frames_are(path, truth)


def test_wrong_times_that_only_the_decoder_can_refute_are_replaced_while_reading(tmp_path: Path) -> None:
    """Tests timestamps that exchange two frames in a container that states display times."""
    source = write_video(tmp_path / "source.mkv", FRAMES, size=SIZE, **H264)
    wrong = exchange_times(source, tmp_path / "wrong.mkv", 22, 23)
    with open_video(wrong) as video:
        assert read_stamps(video.read(np.arange(FRAMES))) == list(range(FRAMES))
    with open_video(wrong) as video:
        chunks = list(video.read_chunks(np.arange(FRAMES), 8))
        assert read_stamps(np.concatenate(chunks)) == list(range(FRAMES))
    with open_video(wrong) as video, pytest.raises(DecodeError, match="timestamps of its frames are wrong"):
        # A wrong frame 23 is given before the other one of the two refutes it.
        list(video.read_chunks(np.delete(np.arange(FRAMES), 22), 1))


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mjpeg"])
def test_gaps_of_an_avi_are_kept(codec: str, tmp_path: Path) -> None:
    """Tests empty chunks, which AVI stores for the time in which no new frame is shown."""
    ticks = [*range(20), *range(120, 140), *range(190, 210)]
    path = tmp_path / "gaps.avi"
    write_at_ticks(path, ticks, codec)
    with open_video(path) as video:
        assert video.times.num_frames == 60
        assert video.times.duration == pytest.approx(210 / 25, abs=0.09)
        np.testing.assert_allclose(video.times.seconds, np.array(ticks) / 25, atol=0.041)
    assert read_stamps(decode(path, indices=[0, 19, 20, 40, 59])) == [0, 19, 20, 40, 59]


@pytest.mark.usefixtures("keep_bytes")
@pytest.mark.parametrize(
    "options", [H264, {"codec": "mpeg2video", "bf": "2"}, HEVC], ids=["h264", "mpeg2", "hevc"]
)
@pytest.mark.parametrize("second_starts_at", [99, 100, 90, 2, 100.01])
def test_joined_transport_streams_follow_one_another(
    options: dict[str, Any], second_starts_at: float, tmp_path: Path
) -> None:
    """Tests a second part whose clock starts a little, or far, below the end of the first part."""
    source = write_video(tmp_path / "source.mp4", 40, size=SIZE, **options)
    parts = [
        shift(source, tmp_path / f"{name}.ts", seconds)
        for name, seconds in (("first", 100), ("second", second_starts_at))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    times = assert_frames_are(joined, decode_in_order(joined), singles=4)
    assert times.duration == pytest.approx(times.num_frames * 0.04, abs=0.2)


def test_a_pause_of_a_recording_is_not_a_restart_of_its_clock(tmp_path: Path) -> None:
    ticks = [40 * i + (3_600_000 if i >= 20 else 0) for i in range(40)]
    path = write_video(tmp_path / "pause.ts", 40, size=SIZE, ticks=ticks)
    with open_video(path) as video:
        np.testing.assert_allclose(video.times.seconds, np.array(ticks) / 1000, atol=1e-3)
