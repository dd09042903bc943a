"""Frames come in the order in which they are shown, whatever the timestamps of the file say.

The expected frames are those of a plain decode in order; each frame shows its number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, open_video, stream
from tests.support.odd_files import (
    assert_frames_are,
    decode_in_order,
    drop_first,
    ffmpeg,
    has_encoder,
    needs_ffmpeg,
    remux,
    shift,
)
from tests.support.videos import read_stamps, write_video

FRAMES = 60
SIZE = (64, 96)
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:b-adapt=0:scenecut=0"}
H264 = {"codec": "libx264", "preset": "fast", "bf": "3"}
HEVC = {"codec": "libx265", "x265-params": "log-level=none:bframes=3:keyint=12"}


@pytest.fixture(params=["kept packets", "seeking"])
def keep_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads small files once, or every time from where decoding must start."""
    if request.param == "seeking":
        monkeypatch.setattr("slowfast.video.frame_table.scan._KEEP_BYTES", 0)


# ------------------------------------------------------------------------- containers without display times


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
def test_packed_bidirectional_frames(packed: Path) -> None:
    truth = decode_in_order(packed)
    times = assert_frames_are(packed, truth, singles=20)
    assert times.duration == pytest.approx(73 / 25, abs=0.1)
    assert read_stamps(stream(packed)) == read_stamps(truth)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "nut", "m4v"])
@pytest.mark.parametrize("flags", [(), ("-fflags", "+genpts")], ids=["as it is", "with guessed times"])
def test_packed_bidirectional_frames_in_other_containers(
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
def test_display_times_that_were_guessed_from_decoding_times(codec: str, suffix: str, tmp_path: Path) -> None:
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
def test_raw_streams(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, size=SIZE, **options)
    truth = decode_in_order(path)
    assert read_stamps(truth) == list(range(FRAMES)), "the video of this test is wrong"
    assert_frames_are(path, truth)


def test_wrong_times_that_only_the_decoder_can_refute_are_replaced_while_reading(tmp_path: Path) -> None:
    """Tests timestamps that exchange two frames in a container that states display times."""
    source = write_video(tmp_path / "source.mkv", FRAMES, size=SIZE, **H264)
    with av.open(str(source)) as container:
        shown = sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
    exchanged = {shown[22]: shown[23], shown[23]: shown[22]}

    def exchange(_: int, packet: Any) -> None:
        packet.pts = exchanged.get(packet.pts, packet.pts)

    wrong = remux(source, tmp_path / "wrong.mkv", exchange)
    with open_video(wrong) as video:
        assert read_stamps(video.read(np.arange(FRAMES))) == list(range(FRAMES))
    with open_video(wrong) as video:
        chunks = list(video.read_chunks(np.arange(FRAMES), 8))
        assert read_stamps(np.concatenate(chunks)) == list(range(FRAMES))
    with open_video(wrong) as video, pytest.raises(DecodeError, match="timestamps of its frames are wrong"):
        # A wrong frame 23 is given before the other one of the two refutes it.
        list(video.read_chunks(np.delete(np.arange(FRAMES), 22), 1))


# ------------------------------------------------------------------------- times


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


def write_at_ticks(path: Path, ticks: list[int], codec: str) -> None:
    """Writes a video of 25 ticks per second whose stamped frames are shown at the given ticks."""
    from fractions import Fraction

    from tests.support.videos import stamp

    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25, options={} if codec == "mjpeg" else {"bf": "2"})
        track.width, track.height = 96, 64
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        track.codec_context.time_base = Fraction(1, 25)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(stamp(number, 64, 96), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            container.mux(track.encode(frame))
        container.mux(track.encode())


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


# ------------------------------------------------------------------------- recordings between key frames


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
        assert video.undecodable_head > 0
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


def test_a_stream_refreshed_block_by_block_begins_with_its_first_complete_frame(
    tmp_path: Path,
) -> None:
    refresh = {"bf": "0", "x264-params": "intra-refresh=1:keyint=20"}
    source = write_video(tmp_path / "source.mp4", FRAMES, size=(120, 160), **refresh)
    late = drop_first(source, tmp_path / "late.mp4", 12)
    assert_frames_are(late, decode_in_order(late))


# ------------------------------------------------------------------------- parts cut without encoding


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
