"""Decoding gives exactly the requested frames for every codec and container.

Each frame shows its number; the expected pixels are those of a plain decode of all frames in order.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.video.frame import PictureType

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, describe_backend, open_video, stream
from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.frame_table import scan
from slowfast.video.packets import PacketSource
from slowfast.video.placement import Placement, full_frame
from slowfast.video.torchcodec_video import torchcodec_version
from tests.support.processes import run_all, run_forked
from tests.support.videos import read_stamp, read_stamps, stamp, write_video

FRAMES = 40
X265 = "log-level=none:bframes=3:keyint=12"
ENCODINGS = {
    "h264.mp4": {"codec": "libx264"},
    "h264-b.mp4": {"codec": "libx264", "bf": "3"},
    "h264-b.mkv": {"codec": "libx264", "bf": "3"},
    "h264-b.mov": {"codec": "libx264", "bf": "3"},
    "h264-b.ts": {"codec": "libx264", "bf": "3"},
    "h264-b.flv": {"codec": "libx264", "bf": "3"},
    "h264-b.avi": {"codec": "libx264", "bf": "3"},
    "h264-open.mp4": {
        "codec": "libx264",
        "bf": "2",
        "x264-params": "open-gop=1:keyint=12:b-adapt=0:scenecut=0",
    },
    "h264-open.mkv": {
        "codec": "libx264",
        "bf": "2",
        "x264-params": "open-gop=1:keyint=12:b-adapt=0:scenecut=0",
    },
    "h264-444.mp4": {"codec": "libx264", "pix_fmt": "yuv444p"},
    "h264-10bit.mp4": {"codec": "libx264", "pix_fmt": "yuv422p10le"},
    "hevc.mp4": {"codec": "libx265", "x265-params": X265},
    "hevc-open.mkv": {"codec": "libx265", "x265-params": X265 + ":open-gop=1"},
    "hevc-layers.mp4": {"codec": "libx265", "x265-params": X265 + ":temporal-layers=1"},
    "hevc-10bit.mp4": {"codec": "libx265", "x265-params": X265, "pix_fmt": "yuv420p10le"},
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8", "b": "500k"},
    "vp9-odd.webm": {"codec": "libvpx-vp9", "auto-alt-ref": "1", "cpu-used": "8", "size": (65, 97)},
    "av1.mp4": {"codec": "libsvtav1", "preset": "13"},
    "mpeg4.mp4": {"codec": "mpeg4", "bf": "2"},
    "mpeg4.avi": {"codec": "mpeg4", "bf": "2"},
    "mpeg2.mpg": {"codec": "mpeg2video", "bf": "2"},
    "mpeg2.ts": {"codec": "mpeg2video", "bf": "2"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "prores.mov": {"codec": "prores", "pix_fmt": "yuv422p10le"},
}


def decode_plainly(path: Path) -> np.ndarray:
    """Returns all frames, decoded in order by PyAV alone."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("name", ENCODINGS)
def test_chosen_frames_are_exact(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"size": (64, 96), **ENCODINGS[name]}
    path = write_video(tmp_path / name, FRAMES, **options)
    truth = decode_plainly(path)
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


@pytest.mark.parametrize("name", ["h264-open.mp4", "h264-b.avi", "vp8.webm"])
@pytest.mark.parametrize("keep_bytes", [0, 8 << 20], ids=["seeking", "kept packets"])
def test_chunks_are_read_in_one_pass_over_the_video(
    name: str, keep_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slowfast.video.frame_table.scan._KEEP_BYTES", keep_bytes)
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


def test_seconds_give_the_frame_on_screen(stamped_video: Path) -> None:
    assert read_stamps(decode(stamped_video, seconds=[0, 0.039, 0.04, 1.0, 99])) == [0, 0, 1, 25, 59]


def test_variable_frame_rate(tmp_path: Path) -> None:
    ticks = [*range(0, 1000, 40), *range(1000, 3000, 200)]
    path = write_video(tmp_path / "variable.mkv", len(ticks), ticks=ticks)
    with open_video(path) as video:
        np.testing.assert_allclose(video.times.seconds, np.array(ticks) / 1000, atol=1e-3)
    assert read_stamps(decode(path, seconds=[0.5, 1.1, 1.3, 2.9])) == [12, 25, 26, 34]


def test_a_first_timestamp_other_than_zero(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.mkv", 30, ticks=list(range(7000, 8200, 40)), bf="2")
    with open_video(path) as video:
        assert video.times.seconds[0] == 0
    assert read_stamps(decode(path, indices=[0, 17, 29])) == [0, 17, 29]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_are_counted_where_timestamps_are_decoding_times(suffix: str, tmp_path: Path) -> None:
    """Tests B-frames whose packets have timestamps in the order of storage."""
    original = write_video(tmp_path / "original.mp4", FRAMES, bf="3", preset="medium")
    wrong = tmp_path / f"wrong.{suffix}"
    with av.open(str(original)) as old, av.open(str(wrong), "w") as new:
        out = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        first = packets[0].dts
        for packet in packets:
            assert packet.dts is not None
            assert first is not None
            packet.pts = packet.dts = packet.dts - first
            packet.stream = out
            new.mux(packet)
    with open_video(wrong) as video:
        assert video.pts is None
        assert video.times.num_frames == FRAMES
        assert read_stamps(video.read([25, 3, 39])) == [25, 3, 39]


def test_a_stream_that_may_have_b_frames_but_has_none_is_reached_by_seeking(tmp_path: Path) -> None:
    """Tests ascending timestamps that are right: decoding times earlier than display times prove it."""
    path = tmp_path / "none.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3"})
        stream.width = stream.height = 64
        for i in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(stamp(i), format="rgb24")
            frame.pict_type = PictureType.P if i else PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.has_b_frames
        pts = [packet.pts for packet in container.demux(stream) if packet.size]
        assert pts == sorted(pts)
    with open_video(path) as video:
        assert video.pts is not None
        assert read_stamps(video.read([25, 3, 39])) == [25, 3, 39]


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotation_is_applied(degrees: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", 3, size=(64, 96), rotation=degrees)
    frames = decode(path, size=48)
    assert frames.shape[1:3] == ((72, 48) if degrees in (90, -90) else (48, 72))
    upright = np.rot90(frames[2], k=-degrees // 90)
    assert read_stamp(upright) == 2


def test_scale_crop_and_flip_of_a_placement(stamped_video: Path) -> None:
    place = Placement(height=32, width=48, top=4, left=10, crop_height=24, crop_width=30)
    mirrored = Placement(*(list(vars(place).values())[:6]), flip=True)
    with open_video(stamped_video) as video:
        full = video.read([5], lambda h, w: Placement(32, 48, 0, 0, 32, 48))
        crop = video.read([5], lambda h, w: place)
        flipped = video.read([5], lambda h, w: mirrored)
    np.testing.assert_array_equal(crop, full[:, 4:28, 10:40])
    np.testing.assert_array_equal(flipped, crop[:, :, ::-1])


def test_a_file_object_is_a_source(stamped_video: Path) -> None:
    assert read_stamps(decode(io.BytesIO(stamped_video.read_bytes()), indices=[3, 44])) == [3, 44]


def test_scaling_keeps_brightness(tmp_path: Path) -> None:
    """Tests that scaling before the conversion to RGB does not darken: each grey keeps its level."""
    for level in (30, 128, 220):
        grey = [np.full((96, 128, 3), level, np.uint8)] * 2
        path = write_video(tmp_path / f"{level}.mp4", grey)
        assert abs(decode(path, size=48).mean() - decode(path).mean()) < 0.1


def write_tagged(path: Path, matrix: int) -> Path:
    """Writes an H.264 video that states its colour matrix (ITU-T H.273, table 4)."""
    plain = write_video(path.with_name(f"plain_{path.name}"), 5)
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        tag = BitStreamFilterContext(
            f"h264_metadata=matrix_coefficients={matrix}", old.streams.video[0], stream
        )
        for packet in old.demux(video=0):
            for tagged in tag.filter(packet) if packet.size else tag.filter(None):
                tagged.stream = stream
                new.mux(tagged)
    return path


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
    with pytest.raises(DecodeError, match=r"a\.mp4: not convertible \(yuv420p to RGB: .*not supported"):
        scaler.put(av.VideoFrame(64, 64, "yuv420p"), [0])


def test_a_clip_late_in_the_video_is_reached_by_seeking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "long.mp4", 600, gop=30, bf="2")
    sent = []
    plain = PacketSource.decode
    monkeypatch.setattr(PacketSource, "decode", lambda self, p: sent.append(p) or plain(self, p))
    assert read_stamps(decode(path, indices=[550, 560])) == [550, 560]
    assert len(sent) < 60


@pytest.mark.parametrize("name", ["h264-b.ts", "h264-open.mkv", "hevc-open.mkv", "vp9-odd.webm", "mpeg4.avi"])
def test_threads_give_the_same_frames(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, **ENCODINGS[name])
    indices = [33, 2, 2, 17, 25, 39, 11]
    np.testing.assert_array_equal(decode(path, indices=indices, threads=3), decode(path, indices=indices))
    assert len(list(stream(path, threads=3))) == FRAMES


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"not a video at all " * 100, "not a video"), (None, "missing")]
)
def test_files_that_are_not_videos_are_classified(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)


def test_a_truncated_file_gives_its_remaining_frames(stamped_video: Path, tmp_path: Path) -> None:
    complete = write_video(
        tmp_path / "complete.mp4", 60, size=(64, 96), bf="2", container_options={"movflags": "faststart"}
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(complete.read_bytes()[: int(complete.stat().st_size * 0.6)])
    with open_video(cut) as video:
        count = video.times.num_frames
        assert 20 < count < 60
        assert read_stamps(video.read(np.arange(count))) == list(range(count))


def test_a_name_that_looks_like_an_address_or_a_pattern_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_video(tmp_path / "plain.mp4", 5)
    for name in ("concat:a|b.mp4", "-i.mp4", "%03d.mp4", "a b\n.mp4", "ü😀.mp4"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert read_stamps(decode(name)) == [0, 1, 2, 3, 4]


def test_stamps_are_read_as_they_were_written() -> None:
    assert [read_stamp(stamp(i, 48, 80)) for i in (0, 1, 255, 4097, 65535)] == [0, 1, 255, 4097, 65535]


def close_early(path: str, rounds: int) -> None:
    for number in range(rounds):
        with open_video(path, threads=2) as video:
            chunks = video.read_chunks(np.arange(video.times.num_frames), 16)
            for _ in range(number % 7):
                next(chunks)


@pytest.mark.faults
def test_a_video_that_is_closed_while_threads_decode_it_does_not_hang(tmp_path: Path) -> None:
    """PyAV's own callback for messages takes the interpreter's lock, which the closing thread holds."""
    path = write_video(tmp_path / "v.mp4", 600, size=(240, 320))
    assert run_all(close_early, [(str(path), 200)], seconds=200) == [0]


def close_while_a_thread_reads(path: str, threads: int, rounds: int) -> None:
    scan._KEEP_BYTES = 0  # as for a large file, which is read again
    for number in range(rounds):
        video = open_video(path, threads=threads)
        indices = np.arange(video.times.num_frames)
        chunks = video.read_chunks(indices, 16)
        errors: list[DecodeError] = []
        thread = threading.Thread(target=read_to_the_end, args=(chunks, errors))
        thread.start()
        time.sleep(0.001 * number)
        video.close()
        thread.join()
        assert all(error.reason == "closed" for error in errors), errors


def read_to_the_end(chunks: Iterator[np.ndarray], errors: list[DecodeError]) -> None:
    try:
        for _ in chunks:
            pass
    except DecodeError as error:
        errors.append(error)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_video_that_is_closed_while_another_thread_reads_it_ends_the_reading(
    threads: int, tmp_path: Path
) -> None:
    """PyAV itself reads freed memory there, which ends the process."""
    path = write_video(tmp_path / "v.mp4", 600, size=(240, 320))
    assert run_forked(close_while_a_thread_reads, str(path), threads, 40) == 0


def test_messages_of_decoding_threads_never_wait_for_the_interpreter(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 20)
    assert av.logging.get_level() is None
    with open_video(str(path)) as video:
        assert video.describe_damage() == ""
    assert av.logging.get_level() is None
