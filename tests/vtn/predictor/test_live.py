"""Sources without an end go on after lost packets and after a clock that was set anew."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.placement import full_frame
from tests.support.odd_files import needs_ffmpeg, write_late_sound
from tests.support.videos import overwrite_packets, read_stamps, write_video
from vtn import Predictor
from vtn.predictor.live import LiveFrames


def take(path: Path, fps: float = 50) -> tuple[list[int], np.ndarray, LiveFrames]:
    """Returns the numbers that the frames show, their seconds, and the source."""
    live = LiveFrames(str(path), full_frame(), fps=fps, seconds=0.5)
    pushes = list(live)
    return (
        read_stamps(np.concatenate([images for images, _ in pushes])),
        np.concatenate([t for _, t in pushes]),
        live,
    )


def intra_video(path: Path, frames: int = 40) -> Path:
    return write_video(path, frames, codec="mjpeg", pix_fmt="yuvj420p", fps=10)


@pytest.mark.parametrize("lost", [(0, 2), (15, 25), (38, 40)])
def test_packets_that_cannot_be_decoded_are_left_out(
    lost: tuple[int, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = overwrite_packets(intra_video(tmp_path / "a.avi"), tmp_path / "lost.avi", *lost)
    numbers, seconds, live = take(path)
    assert numbers == np.delete(np.arange(40), np.s_[slice(*lost)]).tolist()
    np.testing.assert_allclose(seconds, (np.array(numbers) - numbers[0]) / 10, atol=1e-3)
    assert live.num_refused == lost[1] - lost[0]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: a packet cannot be decoded (Invalid data found when processing input) and is left out"
    ]


def test_a_stream_between_key_frames_goes_on_after_the_lost_ones(tmp_path: Path) -> None:
    """A loss of whole packets, as in a network, leaves frames without the ones that they refer to."""
    path = write_video(tmp_path / "a.ts", 60, gop=10, bf="0")
    whole, _, _ = take(path)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    (tmp_path / "b.ts").write_bytes(content[: places[20]] + content[places[23] :])
    found, _, _ = take(tmp_path / "b.ts")
    assert whole == list(range(60))
    assert found[-30:] == whole[-30:]
    assert found[:20] == whole[:20]


def test_a_source_of_which_nothing_can_be_decoded_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = intra_video(tmp_path / "a.avi")
    path = overwrite_packets(video, tmp_path / "lost.avi", 0, 40)
    with pytest.raises(DecodeError, match=r"none of its frames can be decoded; check the source"):
        take(path)
    monkeypatch.setattr("vtn.predictor.live._MOST_REFUSED", 10)
    with pytest.raises(DecodeError, match=r"10 packets in a row cannot be decoded; check the source"):
        take(overwrite_packets(video, path, 20, 30))
    assert len(take(overwrite_packets(video, path, 20, 29))[0]) == 31


def test_a_source_that_cannot_be_read_on_fails_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise av.InvalidDataError(1094995529, "Invalid data found when processing input", "camera")

    broken = SimpleNamespace(demux=lost, close=lambda: None)
    monkeypatch.setattr("vtn.predictor.live.open_container", lambda source: broken)
    monkeypatch.setattr("vtn.predictor.live.choose_video_stream", lambda container, name: object())
    with pytest.raises(DecodeError) as caught:
        take(tmp_path / "a.avi")
    message = "Invalid data found when processing input; check the source and its connection, and start again"
    assert str(caught.value) == f"{tmp_path / 'a.avi'}: unreadable ({message})"


@needs_ffmpeg
def test_a_stream_that_is_found_while_reading_is_left_out(tmp_path: Path) -> None:
    live = LiveFrames(str(write_late_sound(tmp_path / "a.flv")), full_frame(), fps=50, seconds=0.5)
    assert sum(len(images) for images, _ in live) == 160


def joined(folder: Path, *lengths: int) -> Path:
    """Writes recordings one after another, of which each begins at the same time."""
    content = b""
    for number, length in enumerate(lengths):
        content += write_video(folder / f"{number}.ts", length, fps=10, gop=5, bf="0").read_bytes()
    (folder / "joined.ts").write_bytes(content)
    return folder / "joined.ts"


def test_time_goes_on_where_timestamps_begin_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    numbers, seconds, _ = take(joined(tmp_path, 30, 25, 20), fps=10)
    assert numbers == [*range(30), *range(25), *range(20)]
    np.testing.assert_allclose(seconds, np.arange(75) / 10, atol=1e-3)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{tmp_path / 'joined.ts'}: its timestamps begin anew; time goes on from 2.9 s"
    ]


def test_frames_out_of_order_are_left_out_and_a_pause_counts_as_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenths = iter([1000, 1001, 1003, 1002, 1004, 73004, 73005, 73006])
    decode = LiveFrames._decode

    def timed(self: LiveFrames, packet: Any) -> Any:
        frames = decode(self, packet)
        for frame in frames or ():
            frame.pts, frame.time_base = next(tenths), Fraction(1, 10)
        return frames

    monkeypatch.setattr(LiveFrames, "_decode", timed)
    numbers, seconds, _ = take(intra_video(tmp_path / "a.avi", 8))
    assert numbers == [0, 1, 2, 4, 5, 6, 7]
    np.testing.assert_allclose(seconds, [0, 0.1, 0.3, 0.4, 7200.4, 7200.5, 7200.6])


def test_predictions_go_on(published: Path, tmp_path: Path) -> None:
    path = joined(tmp_path, 30, 25, 20)
    updates = list(
        Predictor(published, device="cpu", fps=10).follow(str(path), last_seconds=1, every_seconds=0.5)
    )
    assert [update.seconds for update in updates] == pytest.approx([0.5 * n - 0.1 for n in range(1, 16)])
    assert {update.num_frames for update in updates[1:]} == {10}
