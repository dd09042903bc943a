"""Frames are found by their times, by seeking where that suffices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from slowfast.video.decoding import decode, open_video
from slowfast.video.packets import PacketSource
from slowfast.video.pyav_video import PyAVVideo
from tests.support.decoding.encodings import FRAMES
from tests.support.videos import read_stamps, stamp, write_video


def test_seconds_give_the_frame_on_screen(stamped_video: Path) -> None:
    seconds = [-1, 0, 0.039, 0.04, 1.0, 99, np.inf]
    assert read_stamps(decode(stamped_video, seconds=seconds)) == [0, 0, 0, 1, 25, 59, 59]


def test_times_of_a_variable_frame_rate_are_exact(tmp_path: Path) -> None:
    ticks = [*range(0, 1000, 40), *range(1000, 3000, 200)]
    path = write_video(tmp_path / "variable.mkv", len(ticks), ticks=ticks)
    with open_video(path) as video:
        np.testing.assert_allclose(video.times.seconds, np.array(ticks) / 1000, atol=1e-3)
    assert read_stamps(decode(path, seconds=[0.5, 1.1, 1.3, 2.9])) == [12, 25, 26, 34]


def test_times_begin_at_zero_whatever_the_first_timestamp_is(tmp_path: Path) -> None:
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


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The packets that decoders get, and None for each end."""
    packets: list[Any] = []
    plain = PacketSource.decode
    monkeypatch.setattr(PacketSource, "decode", lambda self, p: packets.append(p) or plain(self, p))
    return packets


def test_a_clip_late_in_the_video_is_reached_by_seeking(tmp_path: Path, sent: list[Any]) -> None:
    path = write_video(tmp_path / "long.mp4", 600, gop=30, bf="2")
    assert read_stamps(decode(path, indices=[550, 560])) == [550, 560]
    assert len(sent) < 60


def test_frames_that_must_be_counted_are_decoded_once_for_all_chunks(tmp_path: Path, sent: list[Any]) -> None:
    path = write_video(tmp_path / "a.mp4", FRAMES, bf="2")
    table = replace(PacketSource(path).table, pts=None, packet=None)
    with PyAVVideo(path, table=table) as video:
        chunks = list(video.read_chunks(np.arange(FRAMES), 10))
    assert read_stamps(np.concatenate(chunks)) == list(range(FRAMES))
    assert len(sent) <= FRAMES + 1
