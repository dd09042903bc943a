"""Still images of all formats and names, and the choice among several streams of a file."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.preparation.file_work.transcode import Encoding, transcode
from slowfast.video.decoding import decode, open_video
from tests.support.odd_files import ffmpeg, needs_ffmpeg, write_late_sound
from tests.support.videos import read_stamps, stamp, write_video

STILLS = {
    "a.jpg": ("mjpeg", "yuvj420p"), "a.JPEG": ("mjpeg", "yuvj444p"), "a.png": ("png", "rgb24"),
    "a.bmp": ("bmp", "bgr24"), "a.tif": ("tiff", "rgb24"), "a.webp": ("libwebp", "yuv420p"),
    "a.tga": ("targa", "bgr24"), "a.ppm": ("ppm", "rgb24"), "a.pam": ("pam", "rgb24"),
    "a.jp2": ("jpeg2000", "rgb24"), "a.jls": ("jpegls", "rgb24"), "a.qoi": ("qoi", "rgb24"),
    "a.sgi": ("sgi", "rgb24"), "a.pcx": ("pcx", "rgb24"), "a.sun": ("sunrast", "bgr24"),
    "a.xwd": ("xwd", "bgra"), "a.dpx": ("dpx", "rgb24"),
}  # fmt: skip


def write_still(path: Path, codec: str, pix_fmt: str, number: int = 7) -> Path:
    """Writes a stamped image of 256 x 320 pixels; a JPEG of it has more than 2 KiB."""
    texture = np.random.default_rng(number).integers(0, 40, (256, 320, 1), np.uint8)
    image = av.VideoFrame.from_ndarray(stamp(number, 256, 320) + texture, format="rgb24")
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = 320, 256, pix_fmt  # type: ignore[attr-defined]
    context.time_base = Fraction(1, 25)
    packets = context.encode(image.reformat(format=pix_fmt)) + context.encode(None)  # type: ignore[attr-defined]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


@pytest.mark.parametrize("name", STILLS)
def test_stills_of_all_formats_are_videos_of_one_frame(name: str, tmp_path: Path) -> None:
    path = write_still(tmp_path / name, *STILLS[name])
    with open_video(path) as video:
        assert video.times.num_frames == 1
        assert read_stamps(video.read(np.array([0]))) == [7]
    assert read_stamps(decode(path, size=64)) == [7]


@pytest.mark.parametrize(
    "name", ["img_%03d.jpg", "%d.png", "a*b?.jpg", "a[1-3].png", "a{1,2}.tif", "%%.tga", "a b.jpg"]
)
def test_names_of_stills_are_never_patterns(name: str, tmp_path: Path) -> None:
    """Tests names that stand for other files elsewhere, beside files that they would stand for."""
    codec, pix_fmt = STILLS[f"a{Path(name).suffix}"]
    path = write_still(tmp_path / name, codec, pix_fmt)
    for other in ("img_001", "1", "axb1", "a2", "a1"):
        write_still(tmp_path / f"{other}{path.suffix}", codec, pix_fmt, number=99)
    assert read_stamps(decode(path)) == [7]
    (tmp_path / name).unlink()
    with pytest.raises(DecodeError, match="missing"):
        decode(path)


@pytest.mark.parametrize(
    ("name", "made_as"), [("a.png", "a.jpg"), ("%d.jpg", "a.png"), ("a.jpg", "a.webp"), ("a.mp4", "a.jpg")]
)
def test_stills_with_wrong_names_are_recognised_by_content(name: str, made_as: str, tmp_path: Path) -> None:
    path = write_still(tmp_path / name, *STILLS[made_as])
    assert read_stamps(decode(path)) == [7]


def test_a_still_in_memory_and_an_open_file_are_sources(tmp_path: Path) -> None:
    path = write_still(tmp_path / "a.jpg", *STILLS["a.jpg"])
    assert read_stamps(decode(io.BytesIO(path.read_bytes()))) == [7]
    with open(path, "rb") as file:
        assert read_stamps(decode(file)) == [7]


def test_only_the_first_image_of_a_jpeg_with_several_is_shown(tmp_path: Path) -> None:
    """Tests the layout of stereo images and of photos with a second image for brightness."""
    first = write_still(tmp_path / "first.jpg", *STILLS["a.jpg"])
    second = write_still(tmp_path / "second.jpg", *STILLS["a.jpg"], number=8)
    both = tmp_path / "both.jpg"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert read_stamps(decode(both)) == [7]


def test_messages_do_not_list_formats(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\na.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert len(str(caught.value)) < len(str(path)) + 200


# ------------------------------------------------------------------------- several streams


ATTACHED, DEFAULT = 0x400, 0x1  # dispositions


def write_two_streams(path: Path, still_disposition: int, num_stills: int) -> Path:
    """Writes a file whose first stream shows 99 in 256 x 320, before a video of 20 frames."""
    with av.open(str(path), "w") as container:
        still = container.add_stream("mjpeg", rate=1)
        still.width, still.height, still.pix_fmt = 320, 256, "yuvj420p"
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        still.disposition, video.disposition = still_disposition, DEFAULT
        for number in range(num_stills):
            frame = av.VideoFrame.from_ndarray(stamp(99, 256, 320), format="rgb24")
            frame = frame.reformat(format="yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 1)
            container.mux(still.encode(frame))
        for number in range(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(stamp(number, 64, 96), format="rgb24")))
        container.mux(still.encode())
        container.mux(video.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("still_disposition", "num_stills"), [(ATTACHED, 1), (0, 3)], ids=["cover", "not the default track"]
)
def test_the_video_is_chosen_that_players_show(
    suffix: str, still_disposition: int, num_stills: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_two_streams(tmp_path / f"a.{suffix}", still_disposition, num_stills)
    with open_video(path) as video:
        assert video.size == (64, 96)
        assert read_stamps(video.read(np.arange(video.times.num_frames))) == list(range(20))
        assert (video.describe_missing(), video.describe_damage()) == ("", "")
    assert f"{path}: reads video stream" in caplog.text


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_smaller_copy_shows_the_video_and_not_the_cover(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = write_two_streams(tmp_path / f"in/a.{suffix}", ATTACHED, 1)
    encoding = Encoding(short_side=64, gop=12, crf=10, preset="ultrafast")
    transcode(str(path), source_root=str(path.parent), target_root=str(tmp_path / "out"), encoding=encoding)
    assert read_stamps(decode(tmp_path / f"out/a.{suffix}")) == list(range(20))


@needs_ffmpeg
def test_a_cover_image_of_a_sound_file_is_not_a_video(tmp_path: Path) -> None:
    cover = write_still(tmp_path / "cover.jpg", *STILLS["a.jpg"])
    song = tmp_path / "song.m4a"
    ffmpeg(
        *("-f", "lavfi", "-i", "sine=d=1", "-i", cover, "-map", "0", "-map", "1"),
        *("-c:a", "aac", "-c:v", "copy", "-disposition:v", "attached_pic", song),
    )
    with pytest.raises(DecodeError, match="no video stream"):
        decode(song)


def test_one_stream_is_not_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    decode(write_video(tmp_path / "a.mp4", 3))
    assert caplog.text == ""


@needs_ffmpeg
def test_a_stream_that_is_found_while_reading_does_not_end_the_video(tmp_path: Path) -> None:
    path = write_late_sound(tmp_path / "recorded.flv")
    for _ in range(3):  # PyAV looks at memory behind its list: the first try may succeed by chance
        with open_video(path) as video:
            assert video.times.num_frames == 160
            assert video.read([0, 159]).shape == (2, 48, 64, 3)
