"""Options of encoders, by the name of a file that shows its codec."""

FRAMES = 40
X264_OPEN = "open-gop=1:keyint=12:b-adapt=0:scenecut=0"
X265 = "log-level=none:bframes=3:keyint=12"
ENCODINGS = {
    "h264.mp4": {"codec": "libx264"},
    "h264-b.mp4": {"codec": "libx264", "bf": "3"},
    "h264-b.mkv": {"codec": "libx264", "bf": "3"},
    "h264-b.mov": {"codec": "libx264", "bf": "3"},
    "h264-b.ts": {"codec": "libx264", "bf": "3"},
    "h264-b.flv": {"codec": "libx264", "bf": "3"},
    "h264-b.avi": {"codec": "libx264", "bf": "3"},
    "h264-open.mp4": {"codec": "libx264", "bf": "2", "x264-params": X264_OPEN},
    "h264-open.mkv": {"codec": "libx264", "bf": "2", "x264-params": X264_OPEN},
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
