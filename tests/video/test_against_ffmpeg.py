"""All frames, and frames read alone, against those that the ffmpeg command shows.

The images are smooth, as versions of FFmpeg enlarge colour planes by other filters: newer ones respect where
the samples of colour lie in 4:2:0. Frames therefore agree up to 1.6 of 255 in the mean.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slowfast.video.decoding import decode, open_video
from tests.support.odd_files import ffmpeg, has_encoder, needs_ffmpeg

pytestmark = needs_ffmpeg

FRAMES, HEIGHT, WIDTH = 16, 144, 176
SOURCE = ("-f", "lavfi", "-i", f"testsrc2=s={WIDTH}x{HEIGHT}:r=25:d={FRAMES / 25},gblur=sigma=6")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "6", "-pix_fmt", "yuv420p")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=6")
HDR = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084")
MATRICES = {
    "bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc", "smpte240m": "smpte240m", "fcc": "fcc"
}  # fmt: skip

ENCODINGS: dict[str, tuple[str, ...]] = {
    **{
        f"h264-{matrix}-{color_range}.mp4": (
            *("-vf", f"scale=out_color_matrix={matrix}:out_range={color_range},format=yuv420p", *X264),
            *("-colorspace", tag, "-color_range", color_range),
        )
        for matrix, tag in MATRICES.items()
        for color_range in ("tv", "pc")
    },
    **{f"hevc-{kind}.mp4": (*X265, "-pix_fmt", kind) for kind in ("yuv420p10le", "yuv420p12le", "yuv444p")},
    **{f"hevc-{kind}.mkv": (*X265, "-pix_fmt", kind) for kind in ("yuv422p10le", "yuv444p12le", "gbrp")},
    "hevc-hdr.mp4": (*X265, "-pix_fmt", "yuv420p10le", *HDR),
    "av1.mp4": ("-c:v", "libsvtav1", "-preset", "12"),
    "av1-10bit.mkv": ("-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p10le"),
    "vp9-444.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-pix_fmt", "yuv444p"),
    "vp9-10bit.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-pix_fmt", "yuv420p10le"),
    "vp8-alpha.webm": ("-c:v", "libvpx", "-cpu-used", "8", "-auto-alt-ref", "0", "-pix_fmt", "yuva420p"),
    "ffv1-411.mkv": ("-c:v", "ffv1", "-pix_fmt", "yuv411p"),
    "full-range-mjpeg.avi": ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj422p"),
    "rgb.mkv": ("-c:v", "libx264rgb", "-preset", "ultrafast"),
    "raw.avi": ("-c:v", "rawvideo", "-pix_fmt", "bgr24"),
    "palette.gif": ("-c:v", "gif"),
    "animation.apng": ("-c:v", "apng", "-f", "apng"),
    "prores-alpha.mov": ("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le"),
    "mpeg1.mpg": ("-c:v", "mpeg1video", "-q:v", "2", "-bf", "2"),
    "mpeg2.vob": ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-f", "vob"),
    "mpeg2.mxf": ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2"),
    "h264.m2ts": (*X264, "-mpegts_m2ts_mode", "1", "-f", "mpegts"),
    "late.ts": (*X264, "-output_ts_offset", "500"),
    "wide-pixels.mp4": (*X264, "-aspect", "16:9"),
    "theora.ogv": ("-c:v", "libtheora", "-q:v", "9"),
    "flv1.flv": ("-c:v", "flv", "-q:v", "2"),
    "h263.3gp": ("-c:v", "h263", "-q:v", "2"),
    "wmv2.asf": ("-c:v", "wmv2", "-q:v", "2"),
    "odd-size.mp4": ("-vf", f"scale={WIDTH - 1}:{HEIGHT - 1}", *X264[:-1], "yuv444p"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODINGS)
def test_frames_are_those_of_ffmpeg(name: str, tmp_path: Path) -> None:
    options = ENCODINGS[name]
    encoder = options[options.index("-c:v") + 1]
    if not has_encoder(encoder):
        pytest.skip(f"the ffmpeg command has no {encoder}")
    path = tmp_path / name
    ffmpeg(*SOURCE, *options, path)

    frames = decode(path)
    shown = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    expected = np.frombuffer(shown, np.uint8).reshape(-1, *frames.shape[1:])
    assert frames.shape == expected.shape
    assert len(frames) == FRAMES
    difference = frames.astype(int) - expected
    assert np.abs(difference).mean() < 1.6
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 1.0, "a colour is shifted"

    for index in (FRAMES - 1, 0, 7):
        with open_video(path) as video:
            np.testing.assert_array_equal(video.read(np.array([index]))[0], frames[index])
    # Scaling keeps the colours.
    small = decode(path, indices=[0, 9], size=72).mean(axis=(0, 1, 2)) - frames[[0, 9]].mean(axis=(0, 1, 2))
    assert np.abs(small).max() < 1.0
