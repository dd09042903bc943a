"""Live sources: by the command and by an address; after lost packets and after a clock that was reset."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler
from itertools import islice, pairwise, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.container import open_error_text
from slowfast.video.placement import full_frame
from tests.support.inference.command import predict_on_cpu
from tests.support.inference.http_server import Silent, serve_http
from tests.support.odd_files import needs_ffmpeg, write_late_sound
from tests.support.videos import overwrite_packets, read_stamps, write_video
from vtn import Predictor
from vtn.predictor.live.frames import LiveFrames


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
    monkeypatch.setattr("vtn.predictor.live.frames._MOST_WITHOUT_FRAME", 10)
    with pytest.raises(DecodeError, match=r"10 packets in a row give no frame; check the source"):
        take(overwrite_packets(video, path, 20, 30))
    assert len(take(overwrite_packets(video, path, 20, 29))[0]) == 31
    decode = LiveFrames._decode
    monkeypatch.setattr(
        LiveFrames, "_decode", lambda self, packet: decode(self, packet) if packet.pts < 9 else []
    )
    with pytest.raises(DecodeError, match=r"10 packets in a row give no frame; check the source"):
        take(video)


def test_a_source_that_cannot_be_read_on_fails_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise av.InvalidDataError(1094995529, "Invalid data found when processing input", "camera")

    broken = SimpleNamespace(demux=lost, close=lambda: None, duration=None)
    monkeypatch.setattr("vtn.predictor.live.frames.open_container", lambda source: broken)
    stream = SimpleNamespace(average_rate=25)
    monkeypatch.setattr("vtn.predictor.live.frames.choose_video_stream", lambda container, name: stream)
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
        f"{tmp_path / 'joined.ts'}: its timestamps restart; time continues from 2.9 s"
    ]


def set_times(monkeypatch: pytest.MonkeyPatch, tenths: Iterable[int | None]) -> None:
    """Gives the frames that are decoded next these timestamps, in tenths of a second; None: no timestamp."""
    times, decode = iter(tenths), LiveFrames._decode

    def timed(self: LiveFrames, packet: Any) -> Any:
        frames = decode(self, packet)
        for frame in frames:
            frame.pts, frame.time_base = next(times), Fraction(1, 10)
        return frames

    monkeypatch.setattr(LiveFrames, "_decode", timed)


def test_frames_out_of_order_are_left_out_and_a_pause_counts_as_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_times(monkeypatch, [1000, 1001, 1003, 1002, 1004, 73004, 73005, 73006])
    numbers, seconds, _ = take(intra_video(tmp_path / "a.avi", 8))
    assert numbers == [0, 1, 2, 4, 5, 6, 7]
    np.testing.assert_allclose(seconds, [0, 0.1, 0.3, 0.4, 7200.4, 7200.5, 7200.6])


def test_time_goes_on_where_a_restarted_clock_looks_like_one_that_ran_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg adds 2**33 ticks of 1/90000 s to timestamps far below the first ones."""
    set_times(monkeypatch, [10000, 10001, 10002, 954447, 954448, 954449])
    numbers, seconds, _ = take(intra_video(tmp_path / "a.avi", 6))
    assert numbers == list(range(6))
    np.testing.assert_allclose(seconds, np.arange(6) / 10)


def test_frames_without_timestamps_follow_at_the_rate_of_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_times(monkeypatch, repeat(None))
    path = intra_video(tmp_path / "a.avi")  # 10 frames per second
    numbers, seconds, _ = take(path)
    assert numbers == list(range(40))
    np.testing.assert_allclose(seconds, np.arange(40) / 10)
    numbers, seconds, _ = take(path, fps=5)
    assert numbers == list(range(0, 40, 2))
    np.testing.assert_allclose(seconds, np.arange(20) / 5)


def test_frames_before_a_loss_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packets = LiveFrames._packets

    def lost(self: LiveFrames, container: Any, stream: Any) -> Iterator[Any]:
        yield from islice(packets(self, container, stream), 7)
        raise DecodeError("camera", "unreadable")

    monkeypatch.setattr(LiveFrames, "_packets", lost)
    path = str(intra_video(tmp_path / "a.avi"))
    pushes = iter(LiveFrames(path, full_frame(), fps=50, seconds=60))
    assert len(next(pushes)[0]) == 7
    with pytest.raises(DecodeError, match="camera: unreadable"):
        next(pushes)


def test_a_source_that_gives_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveFrames, "_packets", lambda self, container, stream: iter(()))
    with pytest.raises(DecodeError, match=r"no frames \(nothing came; check the source"):
        take(intra_video(tmp_path / "a.avi"))


def test_a_source_that_is_silent_for_too_long_is_named() -> None:
    assert open_error_text(av.ExitError(1, "Immediate exit requested")) == "nothing came for 10 s"


def test_the_end_of_a_source_without_one_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = intra_video(tmp_path / "a.avi")
    live = LiveFrames(str(path), full_frame(), fps=50, seconds=10)
    live._may_drop = True
    assert len(list(live)) == 1
    assert caplog.messages == [f"{path}: the source has ended"]


def test_predictions_continue_where_timestamps_begin_again(published: Path, tmp_path: Path) -> None:
    path = joined(tmp_path, 30, 25, 20)
    updates = list(
        Predictor(published, device="cpu", fps=10).follow(str(path), last_seconds=1, every_seconds=0.5)
    )
    assert [update.seconds for update in updates] == pytest.approx([0.5 * n - 0.1 for n in range(1, 16)])
    assert {update.num_frames for update in updates[1:]} == {10}


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("rtsp://127.0.0.1/stream", "has no end; give --live SECONDS"),
        ("7", "7: has no end; give --live SECONDS"),
    ],
)
def test_endless_sources_need_live(
    published: Path, video: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_on_cpu([str(published), video]) == 1
    assert message in capsys.readouterr().err


def test_a_live_source_has_the_scores_of_its_last_seconds(
    published: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "live.jsonl"
    video = str(videos / "70.mp4")
    options = ["--live=2", "--fps=10", "--stride=0.5", f"--jsonl={lines}"]
    assert predict_on_cpu([str(published), video, *options]) == 0
    updates = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [update["seconds"] for update in updates] == pytest.approx([0.5 * n - 0.1 for n in range(1, 15)])
    assert [update["frames"] for update in updates[:5]] == [5, 10, 15, 20, 20]
    timeline = Predictor(published, device="cpu", fps=10)(
        video, window_seconds=2, stride_seconds=0.5
    ).timeline
    assert timeline is not None
    # An update of the last two seconds scores what a window scores that ends there.
    np.testing.assert_allclose([update["scores"] for update in updates[3:]], timeline.scores, atol=1e-5)

    best = [update["top"][0]["class"] for update in updates]
    changes = [best[0], *(now for before, now in pairwise(best) if now != before)]
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown] == changes
    assert len(set(best)) > 1, "the best class must change"


def test_a_camera_that_does_not_exist(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict_on_cpu([str(published), "63", "--live=1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vtn predict: 63: ")
    assert sys.platform != "linux" or "(camera /dev/video63: " in line


@pytest.mark.parametrize("options", [[], ["--live=1"]])
def test_an_address_of_another_protocol_is_refused(
    options: list[str], published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_on_cpu([str(published), "tcp://127.0.0.1:1", *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vtn predict: tcp://127.0.0.1:1: ")
    assert "an address begins with http, https, rtsp, rtsps, rtmp, rtmps, srt or udp, and ://" in line


class FileHandler(Silent, SimpleHTTPRequestHandler):
    """A handler of requests for files."""


@pytest.fixture
def server(videos: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a folder with a video and a playlist that names a file of this computer."""
    folder = tmp_path / "served"
    folder.mkdir()
    write_video(folder / "video.mkv", 12, size=(48, 48), fps=10)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{videos / '12.mp4'}\n#EXT-X-ENDLIST\n"
    (folder / "playlist.m3u8").write_text(playlist)
    with serve_http(partial(FileHandler, directory=str(folder))) as host:
        yield f"http://{host}"


def test_a_video_at_an_address_has_the_scores_of_the_file(
    published: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{server}/video.mkv"
    assert predict_on_cpu([str(published), address]) == 0
    local = Predictor(published, device="cpu")(tmp_path / "served" / "video.mkv")
    shown = capsys.readouterr().out
    assert shown == local.describe().replace(str(tmp_path / "served" / "video.mkv"), address) + "\n"
    assert predict_on_cpu([str(published), f"{server}/missing.mkv", f"{server}/playlist.m3u8"]) == 1
    missing, playlist, _ = capsys.readouterr().err.splitlines()
    assert predict_on_cpu([str(published), f"{server}/playlist.m3u8", "--live=1"]) == 1
    assert (
        "which are not followed; `ffmpeg -re -i ADDRESS -c copy -f mpegts udp://" in capsys.readouterr().err
    )
    assert f"vtn predict: {server}/missing.mkv: " in missing
    assert "not a video (it is a playlist, which is not followed; `ffmpeg -i" in playlist
