"""Streams of the network that are lost: they are connected again, and the time without them counts."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.placement import full_frame
from tests.support.videos import read_stamps, write_video
from vtn.predictor.live.connection import StreamClock
from vtn.predictor.live.frames import LiveFrames

RESET = "X-End: reset\r\n"
"""Header of a server that resets its connections, instead of closing them."""

Serve = Callable[[Sequence[bytes], str], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts a server with an answer per connection, and returns its address.

    Further connections are closed without an answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(contents: Sequence[bytes], header: str) -> None:
            contents = list(contents)
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed, at the end of the test
                    return
                with connection:
                    connection.recv(1 << 16)
                    if contents:
                        connection.sendall(f"HTTP/1.0 200 OK\r\n{header}\r\n".encode() + contents.pop(0))
                    if header == RESET:
                        at_once = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

        def start(contents: Sequence[bytes], header: str = "") -> str:
            threading.Thread(target=answer, args=(contents, header), daemon=True).start()
            return f"http://127.0.0.1:{server.getsockname()[1]}/stream"

        yield start
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries to connect, by which alone the time passes."""
    waits: list[float] = []
    time = SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append)
    monkeypatch.setattr("vtn.predictor.live.connection.time", time)
    return waits


def recording(path: Path, frames: int, **numbers: str) -> bytes:
    return write_video(path, frames, fps=10, gop=5, bf="0", container_options=numbers).read_bytes()


def with_sound(path: Path, seconds: int) -> bytes:
    """Returns the recording of a path with so many seconds of sound, muxed alternately."""
    with av.open(str(path)) as video, av.open(str(path.with_stem("sound")), "w") as both:
        pictures = both.add_stream_from_template(video.streams.video[0])
        sound = both.add_stream("aac", rate=48_000)
        for packet in video.demux(video=0):
            if packet.size:
                packet.stream = pictures
                both.mux(packet)
        for start in range(0, seconds * 48_000, 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.pts, silence.sample_rate = start, 48_000
            both.mux(sound.encode(silence))
        both.mux(sound.encode(None))
    return path.with_stem("sound").read_bytes()


def test_a_lost_stream_is_connected_again_and_its_absence_counts_as_time(
    serve: Serve, waits: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contents = [recording(tmp_path / f"{count}.ts", count) for count in (30, 25, 20)]
    address = serve([contents[0], b"", b"", contents[1], contents[2]])
    pushes = iter(LiveFrames(address, full_frame(), fps=10, seconds=60))
    images, seconds = next(pushes)
    assert read_stamps(images) == [*range(30), *range(25), *range(20)]
    # The third connection is there before the frames of the second one would have been shown.
    expected = [*np.arange(30) / 10, *(7 + np.arange(45) / 10)]
    np.testing.assert_allclose(seconds, expected, atol=1e-3)
    assert waits[:4] == [1, 2, 4, 1]
    lost, connected, *_ = caplog.messages
    assert lost.startswith(f"{address}: lost (")
    assert lost.endswith("); connecting again, for 300 s at most")
    assert connected == f"{address}: connected again, after 4.1 s without a frame"


def test_a_stream_whose_video_gets_another_number_goes_on(
    serve: Serve, waits: list[float], tmp_path: Path
) -> None:
    first = recording(tmp_path / "a.ts", 30)
    second = recording(tmp_path / "b.ts", 25, mpegts_start_pid="300", tables_version="1")
    address = serve([first + second])
    images, _ = next(iter(LiveFrames(address, full_frame(), fps=10, seconds=60)))
    assert read_stamps(images)[:49] == [*range(29), *range(20)]  # the last frame of each is not complete


def test_a_stream_whose_sound_alone_goes_on_is_connected_again(
    serve: Serve, waits: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording(tmp_path / "a.ts", 30)  # of 3 seconds
    address = serve([with_sound(tmp_path / "a.ts", 50), recording(tmp_path / "b.ts", 25)])
    images, _ = next(iter(LiveFrames(address, full_frame(), fps=10, seconds=60)))
    assert read_stamps(images)[:48] == [*range(28), *range(20)]  # the last ones of each stay in the decoder
    assert "lost (2000 packets in a row give no frame)" in caplog.text


def test_a_lost_stream_is_given_up(serve: Serve, waits: list[float], tmp_path: Path) -> None:
    address = serve([recording(tmp_path / "a.ts", 30)])
    pushes = iter(LiveFrames(address, full_frame(), fps=10, seconds=60))
    assert len(next(pushes)[0]) == 30
    with pytest.raises(DecodeError, match=f"^{address}: .*; no frame came for 300 s; check the source"):
        next(pushes)
    assert waits[:5] == [1, 2, 4, 8, 8]
    assert 300 < sum(waits) < 310


def test_a_stream_that_was_never_there_fails_at_once(serve: Serve, waits: list[float]) -> None:
    with pytest.raises(DecodeError):
        next(iter(LiveFrames(serve([]), full_frame(), fps=10, seconds=60)))
    assert waits == []


def test_a_file_of_the_network_has_an_end(serve: Serve, waits: list[float], tmp_path: Path) -> None:
    content = recording(tmp_path / "a.ts", 30)
    address = serve([content] * 20, f"Content-Length: {len(content)}\r\nAccept-Ranges: none\r\n")
    pushes = list(LiveFrames(address, full_frame(), fps=10, seconds=60))
    assert [len(images) for images, _ in pushes] == [30]
    assert waits == []


@pytest.mark.parametrize("has_sound", [False, True])
@pytest.mark.parametrize("suffix", ["avi", "mkv", "flv"])
def test_a_recording_of_the_network_that_is_cut_is_not_taken_for_complete(
    serve: Serve, waits: list[float], tmp_path: Path, suffix: str, has_sound: bool
) -> None:
    """The transfer states no length, but the header of the recording does."""
    content, header = recording(tmp_path / f"a.{suffix}", 80), "Transfer-Encoding: chunked\r\n"
    if has_sound:
        content = with_sound(tmp_path / f"a.{suffix}", 12)
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    address = serve([chunk[: len(chunk) // 2], chunk], header)
    pushes = iter(LiveFrames(address, full_frame(), fps=10, seconds=60))
    assert 10 < len(next(pushes)[0]) < 70
    with pytest.raises(DecodeError, match=r"truncated \(the connection was lost at .* s of \d+\.\d s; check"):
        next(pushes)
    pushes = iter(LiveFrames(address, full_frame(), fps=10, seconds=60))
    assert [len(images) for images, _ in pushes] == [80]


def test_a_recording_of_the_network_is_not_followed_from_its_start_after_an_error(
    serve: Serve, waits: list[float], tmp_path: Path
) -> None:
    content = recording(tmp_path / "a.avi", 80)
    address = serve([content[: len(content) // 2], content], RESET)
    pushes = iter(LiveFrames(address, full_frame(), fps=10, seconds=60))
    assert 10 < len(next(pushes)[0]) < 60
    with pytest.raises(DecodeError, match=r"Connection reset by peer; check the source"):
        next(pushes)
    assert waits == []


def test_a_stream_whose_header_states_the_duration_of_its_first_part_is_connected_again(
    serve: Serve, waits: list[float], tmp_path: Path
) -> None:
    """FFmpeg takes the first fragment of a stream in mp4, as cameras send it, for all of it."""
    parts = {"movflags": "frag_keyframe+empty_moov"}
    address = serve([recording(tmp_path / f"{count}.mp4", count, **parts) for count in (90, 25)])
    images, _ = next(iter(LiveFrames(address, full_frame(), fps=10, seconds=60)))
    assert read_stamps(images) == [*range(90), *range(25)]
    assert waits[0] == 1


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_recording_of_unknown_length_is_not_followed_again_from_its_start(
    serve: Serve, waits: list[float], tmp_path: Path, is_chunked: bool
) -> None:
    """A server that makes the file as it sends it states no length; a camera does not send 15 s at once."""
    content, header = recording(tmp_path / "a.ts", 150), ""
    if is_chunked:
        content, header = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content), "Transfer-Encoding: chunked\r\n"
    pushes = list(LiveFrames(serve([content] * 2, header), full_frame(), fps=10, seconds=60))
    assert [len(images) for images, _ in pushes] == [150]
    assert waits == []


@pytest.mark.parametrize("seconds_per_frame", [0.0, 0.1])
def test_a_stream_that_comes_as_it_is_shown_is_not_taken_for_a_recording(
    waits: list[float], seconds_per_frame: float
) -> None:
    clock = StreamClock("camera")
    clock.open()
    clock.connect(0.1)
    for frame in range(300):
        clock.seconds(frame / 10)
        waits.append(seconds_per_frame)
    assert clock.is_of_recording == (seconds_per_frame == 0)
    clock.open()  # a connection without a frame so far
    assert not clock.is_of_recording
