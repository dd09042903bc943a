"""Copies of ``slowfast prepare resize``: colours, times and frames of the source, and their places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from slowfast.cli.prepare import main
from slowfast.datasets.video_folder import VIDEO_SUFFIXES
from slowfast.errors import DecodeError
from slowfast.preparation.file_work.transcode import CONTAINERS, Encoding, transcode
from slowfast.video.decoding import decode
from slowfast.video.pyav_video import PyAVVideo
from tests.support.preparation.command import prepare
from tests.support.videos import read_stamps, write_csv, write_torn, write_video

# Colour matrices and ranges, ITU-T H.273 and FFmpeg's AVColorRange.
BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, YCGCO, BT2020, BT2020_CL = 1, 2, 4, 5, 6, 7, 8, 9, 10
LIMITED, FULL = 1, 2


def write_colour(
    path: Path,
    *,
    pix_fmt: str = "yuv420p",
    matrix: int,
    full: bool = False,
    codec: str = "libx264",
    turn: int = 0,
) -> Path:
    """Writes a video of one colour whose tags state how its pixel values were made."""
    image = np.full((64, 96, 3), (220, 60, 90), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, FULL if full else LIMITED
        if turn:
            stream.set_display_rotation(turn)
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            known = matrix if matrix in (BT709, FCC, BT470BG, SMPTE240M, BT2020) else BT470BG
            frame = frame.reformat(
                format=pix_fmt, dst_colorspace=known, dst_color_range=FULL if full else LIMITED
            )
            frame.colorspace = matrix
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copy_of(source: Path, short_side: int = 32) -> Path:
    """Copies a video into the folder ``out`` beside its own; returns the path of the copy."""
    target = source.parent.parent / "out"
    encoding = Encoding(short_side, 12, 5, "fast")
    transcode(str(source), source_root=str(source.parent), target_root=str(target), encoding=encoding)
    return target / source.name


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_interlaced_frames_are_scaled_as_a_whole(videos: Path) -> None:
    copies = [
        decode(copy_of(write_torn(videos / name, **options)))
        for name, options in (("progressive.mp4", {}), ("interlaced.mp4", {"x264opts": "tff=1"}))
    ]
    np.testing.assert_array_equal(*copies)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("untagged.mp4", {"matrix": UNSPECIFIED}),
        ("bt601.mp4", {"matrix": SMPTE170M}),
        ("bt709.mp4", {"matrix": BT709}),
        ("bt709.mkv", {"matrix": BT709}),
        ("bt709.avi", {"matrix": BT709}),
        ("bt709.ts", {"matrix": BT709}),
        ("bt709.webm", {"matrix": BT709, "codec": "libvpx-vp9"}),
        ("bt2020.mp4", {"matrix": BT2020, "pix_fmt": "yuv420p10le"}),
        ("bt2020.webm", {"matrix": BT2020, "codec": "libvpx-vp9"}),
        ("constant_luminance.mp4", {"matrix": BT2020_CL}),
        ("smpte240m.mp4", {"matrix": SMPTE240M}),
        ("fcc.mkv", {"matrix": FCC}),
        ("ycgco.mp4", {"matrix": YCGCO}),
        ("full.mp4", {"matrix": SMPTE170M, "pix_fmt": "yuvj420p", "full": True}),
        ("full_untagged.mp4", {"matrix": UNSPECIFIED, "pix_fmt": "yuvj420p", "full": True}),
        ("full_bt709.mp4", {"matrix": BT709, "pix_fmt": "yuvj420p", "full": True}),
        ("full_bt709.webm", {"matrix": BT709, "full": True, "codec": "libvpx-vp9"}),
        ("full_444.mkv", {"matrix": BT709, "pix_fmt": "yuv444p", "full": True}),
        ("photos.avi", {"matrix": BT470BG, "pix_fmt": "yuvj420p", "full": True, "codec": "mjpeg"}),
        ("rgb.mp4", {"matrix": 0, "pix_fmt": "rgb24", "codec": "libx264rgb"}),
        ("turned.mp4", {"matrix": BT709, "pix_fmt": "yuvj420p", "full": True, "turn": 90}),
    ],
)
@pytest.mark.parametrize("short_side", [32, 256])
def test_a_copy_has_the_colours_of_its_source(
    videos: Path, name: str, options: dict[str, Any], short_side: int
) -> None:
    source = write_colour(videos / name, **options)
    before, after = decode(source), decode(copy_of(source, short_side))
    colours = [frames.reshape(-1, 3).mean(0) for frames in (before, after)]
    assert colours[0] == pytest.approx(colours[1], abs=3)


# --------------------------------------------------------------------------------------- never over a source


@pytest.fixture
def refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Calls a resize that is refused and changes no video; returns its error."""

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*.mp4")}

    def resize(source: str, target: str, *options: str) -> str:
        before = contents()
        places = [str(tmp_path / source), str(tmp_path / target)]
        assert main(["resize", *places, "--short-side", "32", *options]) == 1
        assert contents() == before
        return capsys.readouterr().err

    return resize


def test_a_copy_never_replaces_another_video_of_the_list(videos: Path, refuse: Callable[..., str]) -> None:
    (videos / "small").mkdir()
    write_video(videos / "a.mp4", 5, size=(128, 128))
    write_video(videos / "small/a.mp4", 6, size=(96, 96))
    write_csv(videos.parent / "l.csv", [("a.mp4", 0), ("small/a.mp4", 1)])
    error = refuse("l.csv", "in/small", "--prefix", str(videos))
    assert "in/small/a.mp4: is a video of the list, and the copy of" in error
    assert "would replace it; choose another folder" in error


def test_a_link_to_the_folder_of_the_videos_is_refused(videos: Path, refuse: Callable[..., str]) -> None:
    write_video(videos / "a.mp4", 5, size=(128, 128))
    (videos.parent / "link").symlink_to("in")
    write_csv(videos.parent / "l.csv", [("a.mp4", 0)])
    error = refuse("l.csv", "link", "--prefix", str(videos))
    assert "link: the copies would replace the videos; choose another folder" in error


def test_a_video_that_is_a_link_into_the_target_is_not_replaced(
    videos: Path, refuse: Callable[..., str]
) -> None:
    (videos.parent / "full").mkdir()
    write_video(videos.parent / "full/b.mp4", 5, size=(128, 128))
    (videos / "b.mp4").symlink_to("../full/b.mp4")
    assert "full/b.mp4: is a video of the list, and the copy of" in refuse("in", "full")


# ------------------------------------------------------------------------------------------ frames and times


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {"container_options": {"movflags": "faststart"}}), ("a.avi", {"codec": "mpeg4"})],
)
def test_a_truncated_video_gets_no_copy(videos: Path, name: str, options: dict[str, Any]) -> None:
    source = write_video(videos / name, 200, size=(128, 128), **options)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(DecodeError, match=r"truncated \(.* of 200 frames are present\)"):
        copy_of(source)
    assert not list(videos.parent.rglob("out/*"))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "flv", "webm", "avi"])
def test_a_copy_of_variable_rate_lasts_as_long(videos: Path, suffix: str) -> None:
    ticks = [0, 40, 80, 120, 2000, 2040, 2080, 2120, 4000, 4040]
    original = "avi" if suffix == "avi" else "mp4"
    write_video(videos / f"b.{original}", 10, ticks=ticks, codec="mpeg4" if suffix == "avi" else "libx264")
    source = (videos / f"b.{original}").rename(videos / f"a.{suffix}")  # reading goes by the content
    copy = copy_of(source)
    with PyAVVideo(source) as before, PyAVVideo(copy) as after:
        assert after.times.seconds == pytest.approx(before.times.seconds, abs=2e-3)
        assert after.times.duration == pytest.approx(before.times.duration, abs=2e-3)


# ---------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("suffix", sorted(CONTAINERS))
def test_a_copy_of_each_suitable_format_can_be_read(videos: Path, suffix: str) -> None:
    write_video(videos / "a.mkv", 10)
    copy = copy_of((videos / "a.mkv").rename(videos / f"a{suffix}"))  # reading goes by the content
    assert read_stamps(decode(copy)) == list(range(10))
    with PyAVVideo(copy) as video:
        assert video.times.seconds == pytest.approx(np.arange(10) / 25, abs=2e-3)


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES - CONTAINERS.keys() | {"", ".unheard"}))
def test_every_other_format_is_refused_with_a_remedy(videos: Path, suffix: str) -> None:
    write_video(videos / "a.mkv", 10)
    with pytest.raises(DecodeError, match=r"unsuitable format .*H\.264; convert the file to \.mp4"):
        copy_of((videos / "a.mkv").rename(videos / f"a{suffix}"))


@pytest.mark.parametrize("suffix", [".h264", ".mxf"])
def test_formats_without_frame_times_take_no_variable_rates(videos: Path, suffix: str) -> None:
    write_video(videos / "a.mkv", 5, ticks=[0, 40, 80, 500, 540])
    with pytest.raises(DecodeError, match="cannot hold variable frame rates"):
        copy_of((videos / "a.mkv").rename(videos / f"a{suffix}"))


def test_names_that_begin_with_dots_are_inside_their_folder(
    videos: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    write_video(videos / "..a.mp4", 5)
    listed = write_csv(tmp_path / "l.csv", [("..a.mp4", 0)])
    prepare("resize", listed, tmp_path / "out", "--prefix", videos)
    assert (tmp_path / "out/..a.mp4").exists()
    write_csv(listed, [("../b.mp4", 0)])
    assert "b.mp4: is not inside" in refuse("l.csv", "out", "--prefix", str(videos))


def test_resize_keeps_names_times_and_frames(videos: Path, tmp_path: Path) -> None:
    (videos / "a").mkdir()
    ticks = np.cumsum([0, *([20, 60] * 10)]).tolist()[:20]
    write_video(videos / "a/wide.mp4", 20, size=(128, 258), ticks=ticks, bf="2")
    write_video(videos / "small.webm", 20, size=(48, 64), codec="libvpx")
    write_video(videos / "tall.avi", 20, size=(192, 96), codec="mpeg4")
    (videos / "bad.mp4").write_text("no video")
    report = prepare("resize", videos, tmp_path / "out", "--short-side", "64", "--gop", "5")
    assert (report["copied"], report["problems"]) == (3, {"not a video": 1})
    assert not (tmp_path / "out/bad.mp4").exists()
    sizes = {"a/wide.mp4": (64, 128), "small.webm": (48, 64), "tall.avi": (128, 64)}
    for name, size in sizes.items():
        with PyAVVideo(videos / name) as before, PyAVVideo(tmp_path / "out" / name) as after:
            assert np.allclose(before.times.seconds, after.times.seconds, atol=2e-3)
        frames = decode(tmp_path / "out" / name)
        assert read_stamps(frames) == list(range(20))
        assert frames.shape[1:3] == size
    with av.open(str(tmp_path / "out/a/wide.mp4")) as copy:
        keys = [i for i, packet in enumerate(copy.demux(video=0)) if packet.is_keyframe]
    assert max(np.diff(keys)) <= 5  # a scene change starts a group early


def test_resize_lets_the_encoder_choose_the_frame_types(videos: Path, tmp_path: Path) -> None:
    """A decoded frame has a type, which an encoder would obey."""
    write_video(videos / "intra.mp4", 20, size=(128, 128), gop=1)
    prepare("resize", videos, tmp_path / "out", "--short-side", "64", "--gop", "20")
    with av.open(str(tmp_path / "out/intra.mp4")) as copy:
        intra = [frame.pict_type == PictureType.I for frame in copy.decode(video=0)]
    assert sum(intra) < 10


def test_resize_repeats_only_missing_copies(videos: Path, tmp_path: Path) -> None:
    for i in range(3):
        write_video(videos / f"{i}.mp4", 5, size=(128, 128))
    prepare("resize", videos, tmp_path / "out", "--short-side", "64")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out/1.mp4").unlink()
    assert prepare("resize", videos, tmp_path / "out", "--short-side", "64")["copied"] == 3
    changed = [p.name for p in (tmp_path / "out").iterdir() if p.stat().st_mtime_ns != times[p.name]]
    assert changed == ["1.mp4"]


def test_resize_of_a_list_may_write_into_the_folder_of_its_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", 5, size=(128, 128))
    write_csv(tmp_path / "all.csv", [("a.mp4", 0)])
    assert prepare("resize", tmp_path / "all.csv", "small", "--short-side", "64")["copied"] == 1
    assert (tmp_path / "small/a.mp4").exists()


def test_resize_keeps_a_rotation(videos: Path, tmp_path: Path) -> None:
    write_video(videos / "turned.mp4", 5, size=(128, 192), rotation=90)
    prepare("resize", videos, tmp_path / "out", "--short-side", "64")
    before, after = decode(videos / "turned.mp4", size=64), decode(tmp_path / "out/turned.mp4")
    assert before.shape == after.shape == (5, 96, 64, 3)
    assert np.abs(before.astype(int) - after.astype(int)).mean() < 8
