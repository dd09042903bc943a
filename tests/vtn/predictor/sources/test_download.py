"""Videos of ``http://`` addresses, from servers that answer in their own ways or end the connection."""

from __future__ import annotations

import base64
import gc
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import psutil
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import open_video
from tests.support.inference.http_server import Silent, serve_http
from tests.support.videos import write_video
from vtn.predictor.reading import download as module
from vtn.predictor.videos import as_source


class Handler(Silent, BaseHTTPRequestHandler):
    """A server whose way to answer is the first part of the address."""

    protocol_version = "HTTP/1.1"
    content = b""
    released = threading.Event()

    def do_GET(self) -> None:
        _, way, rest = urlsplit(self.path).path.split("/", 2)
        self.close_connection = True
        if way.isdecimal():
            self.send_error(int(way))
        elif way == "to":
            self.answer({"Location": unquote(rest), "Content-Length": "0"}, 302)
        elif (
            way == "private"
            and self.headers["Authorization"] != "Basic " + base64.b64encode(b"me:a@b").decode()
        ):
            self.send_error(401)
        elif way == "chunked":
            self.answer({"Transfer-Encoding": "chunked"})
            for part in (self.content[:1000], self.content[1000:], b""):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        elif way == "unbounded":
            self.answer({})
            self.wfile.write(self.content)
        else:
            self.answer({"Content-Length": str(len(self.content))})
            sent = len(self.content) // (2 if way in ("cut", "hanging") else 1)
            self.wfile.write(self.content[:sent])
            if way == "hanging":
                self.wfile.flush()
                self.released.wait(60)

    def answer(self, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose index lies at its end, as cameras and editors write it."""
    return write_video(tmp_path_factory.mktemp("served") / "video.mp4", 30, size=(48, 64), fps=10)


@pytest.fixture
def server(video: Path) -> Iterator[str]:
    Handler.content = video.read_bytes()
    Handler.released.clear()
    with serve_http(Handler) as host:
        yield f"http://{host}"
        Handler.released.set()


@pytest.mark.parametrize("way", ["plain", "chunked", "unbounded", "to"])
def test_frames_are_those_of_the_file(way: str, server: str, video: Path) -> None:
    """No server here answers requests for a part of the file, which this one needs: its index is last."""
    address = f"{server}/{way}/{quote(f'{server}/plain/a.mp4', '') if way == 'to' else 'ä b.mp4'}"
    with as_source(address.replace(" ", "%20"), default_fps=10).open() as found, open_video(video) as local:
        assert found.times.num_frames == 30
        np.testing.assert_array_equal(found.read(np.arange(30)), local.read(np.arange(30)))


def test_names_and_passwords_of_the_address_are_sent(server: str) -> None:
    with as_source(server.replace("//", "//me:a%40b@") + "/private/a.mp4", default_fps=10).open() as found:
        assert found.times.num_frames == 30


@pytest.mark.parametrize(
    ("place", "reason", "detail"),
    [
        ("/cut/a.mp4", "unreadable", r"the connection ended after \d+ of \d+ bytes; try again"),
        ("/hanging/a.mp4", "unreadable", r"the server sent nothing for 0\.2 s; try again"),
        ("/404/a.mp4", "missing", "the server answers 404 Not Found"),
        ("/403/a.mp4", "not permitted", "the server answers 403 Forbidden"),
        ("/503/a.mp4", "unreadable", "the server answers 503 Service Unavailable"),
        ("/private/a.mp4", "not permitted", "the server answers 401 Unauthorized"),
        (f"/to/{quote('file:///etc/passwd', '')}", "unreadable", "'file:///etc/passwd' is not allowed"),
        (f"/to/{quote('ftp://127.0.0.1/a', '')}", "unreadable", "unknown url type: ftp"),
        (":a/a.mp4", "unreadable", "nonnumeric port"),
    ],
)
def test_an_address_that_cannot_be_read_to_its_end_fails(
    place: str, reason: str, detail: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    address = server + place if place.startswith("/") else "http://127.0.0.1" + place
    with pytest.raises(DecodeError, match=detail) as caught:
        as_source(address, default_fps=10).open()
    assert (caught.value.path, caught.value.reason) == (address, reason)


def test_a_server_that_does_not_listen_is_named() -> None:
    with pytest.raises(DecodeError, match=r"127.0.0.1:1/a: unreadable \(the connection failed: Connection"):
        as_source("http://127.0.0.1:1/a", default_fps=10).open()


@pytest.mark.parametrize("way", ["plain", "unbounded"])
def test_a_disk_without_room_is_named(way: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DISK_FRACTION", 0.0)
    with pytest.raises(DecodeError, match="half of the free disk of"):
        as_source(f"{server}/{way}/a.mp4", default_fps=10).open()


def test_no_file_is_left(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = psutil.Process().num_fds()
    source = as_source(f"{server}/plain/a.mp4", default_fps=10)
    for _ in range(5):
        with source.open() as found:
            found.read(np.array([29]))
        assert list(tmp_path.iterdir()) == []
    del found
    gc.collect()
    assert psutil.Process().num_fds() <= before + 2  # connections that the server has not closed yet


def test_a_file_without_its_end_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "cut.mp4", 60, size=(128, 128), container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with as_source(path, default_fps=10).open() as found:
        assert found.times.num_frames < 60
    (line,) = caplog.messages
    assert line.startswith(f"{path}: is truncated (")
