"""Recordings that begin between key frames, or were cut without encoding, show all that can be decoded.

The expected frames are those of a plain decode in order; each frame shows its number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slowfast.video.decoding import decode, open_video, stream
from tests.support.odd_files import (
    FRAMES,
    H264,
    HEVC,
    OPEN_GROUPS,
    SIZE,
    assert_frames_are,
    decode_in_order,
    drop_first,
    ffmpeg,
    needs_ffmpeg,
    write_at_ticks,
)
from tests.support.videos import read_stamps, write_video


@pytest.mark.usefixtures("keep_bytes")
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    "options",
    [H264, H264 | OPEN_GROUPS, HEVC, {"codec": "mpeg2video", "bf": "2"}, {"codec": "libx264", "bf": "0"}],
    ids=["h264", "h264-open", "hevc", "mpeg2", "h264-no-b"],
)
def test_a_recording_begins_with_its_first_decodable_frame(
    options: dict[str, Any], suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_video(tmp_path / f"source.{suffix}", FRAMES, size=SIZE, **options)
    late = drop_first(source, tmp_path / f"late.{suffix}", 5)
    truth = decode_in_order(late)
    stamps = read_stamps(truth)
    assert stamps == list(range(stamps[0], FRAMES))
    assert 0 < stamps[0] < 20
    times = assert_frames_are(late, truth)
    assert times.duration == pytest.approx(len(truth) / 25, abs=0.1)
    with open_video(late) as video:
        assert video._packets.table.undecodable_head > 0
        assert video.describe_missing() == ""
    assert f"{late}: begins between key frames" in caplog.text
    assert read_stamps(stream(late)) == stamps


@pytest.mark.parametrize("codec", ["libvpx-vp9", "mpeg4"])
def test_frames_that_are_shown_without_their_references_are_left_out(codec: str, tmp_path: Path) -> None:
    """Tests decoders that show frames before the first key frame, or refuse all packets after an error."""
    options = {"cpu-used": "8"} if codec == "libvpx-vp9" else {"bf": "2"}
    source = write_video(tmp_path / "source.mkv", FRAMES, size=SIZE, codec=codec, **options)
    late = drop_first(source, tmp_path / "late.mkv", 5)
    assert read_stamps(decode(late)) == list(range(12, FRAMES))
    assert read_stamps(stream(late)) == list(range(12, FRAMES))
    assert read_stamps(decode(late, indices=[0, 20])) == [12, 32]


@pytest.mark.parametrize(("name", "options"), [("a.h264", H264), ("a.hevc", HEVC), ("a.ts", H264)])
def test_a_stream_of_bytes_that_begins_anywhere(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    content = write_video(tmp_path / f"full_{name}", FRAMES, size=SIZE, **options).read_bytes()
    start = len(content) // 8
    path = tmp_path / name
    path.write_bytes(content[start - start % 188 :])
    truth = decode_in_order(path)
    stamps = read_stamps(truth)
    assert stamps == list(range(stamps[0], FRAMES))
    assert_frames_are(path, truth)


def test_a_stream_refreshed_block_by_block_begins_with_its_first_complete_frame(tmp_path: Path) -> None:
    refresh = {"bf": "0", "x264-params": "intra-refresh=1:keyint=20"}
    source = write_video(tmp_path / "source.mp4", FRAMES, size=(120, 160), **refresh)
    late = drop_first(source, tmp_path / "late.mp4", 12)
    assert_frames_are(late, decode_in_order(late))


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    "options",
    [
        H264,
        H264 | OPEN_GROUPS,
        HEVC,
        HEVC | {"x265-params": HEVC["x265-params"] + ":open-gop=1:b-adapt=0:scenecut=0"},
        {"codec": "libvpx-vp9", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "10"},
        {"codec": "mpeg4", "bf": "2"},
        {"codec": "libsvtav1", "preset": "13"},
    ],
    ids=["h264", "h264-open", "hevc", "hevc-open", "vp9", "mpeg4", "av1"],
)
def test_parts_that_were_cut_without_encoding_are_complete(
    options: dict[str, Any], suffix: str, tmp_path: Path
) -> None:
    source = write_video(tmp_path / f"source.{suffix}", 100, size=SIZE, **options)
    once, twice, late = (tmp_path / f"{name}.{suffix}" for name in ("once", "twice", "late"))
    ffmpeg("-ss", "0.7", "-i", source, "-t", "2.5", "-c", "copy", once)
    ffmpeg("-ss", "0.9", "-i", once, "-t", "1", "-c", "copy", twice)
    ffmpeg("-i", source, "-ss", "0.7", "-c", "copy", late)
    for path in (once, twice, late):
        assert_frames_are(path, decode_in_order(path), singles=3)
        with open_video(path) as video:
            assert (video.describe_missing(), video.describe_damage()) == ("", "")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "flv"])
def test_truncated_files_are_still_found(suffix: str, tmp_path: Path) -> None:
    container_options = {"movflags": "faststart"} if suffix == "mp4" else {}
    complete = write_video(tmp_path / f"full.{suffix}", 100, size=SIZE, container_options=container_options)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(complete.read_bytes()[: int(complete.stat().st_size * 0.6)])
    with open_video(complete) as video:
        assert video.describe_missing() == ""
    with open_video(cut) as video:
        assert "are present" in video.describe_missing()


def test_empty_chunks_of_an_avi_are_not_missing(tmp_path: Path) -> None:
    write_at_ticks(tmp_path / "gaps.avi", [*range(20), *range(120, 140)], "mpeg4")
    with open_video(tmp_path / "gaps.avi") as video:
        assert (video.describe_missing(), video.describe_damage()) == ("", "")
