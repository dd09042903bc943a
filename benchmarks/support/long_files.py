"""Long video files for benchmarks, made of one encoded scene."""

from __future__ import annotations

from pathlib import Path

import av


def repeat_packets(scene: Path, path: Path, times: int, *, fps: int = 25) -> Path:
    """Writes a file that repeats the packets of an encoded scene, unless the file exists; returns its path.

    Args:
        scene: a video with a constant number of frames per second.
        path: of the file to write.
        times: how often the file shows the scene.
        fps: frames per second of the scene.
    """
    if path.exists():
        return path
    with av.open(str(scene)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        out = target.add_stream_from_template(video)
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video) if p.size]
        length = len(packets) * round(1 / (fps * video.time_base))  # of the scene, in ticks of its time base
        for repetition in range(times):
            offset = repetition * length
            for data, pts, dts, is_key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts = pts + offset, dts + offset
                packet.time_base, packet.stream, packet.is_keyframe = video.time_base, out, is_key
                target.mux(packet)
    return path
