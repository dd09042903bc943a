"""Passwords and keys within addresses, which messages and results must not have."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from slowfast.errors import DecodeError
from slowfast.video.container import without_secrets
from tests.support.inference.command import exit_status, predict_on_cpu
from tests.support.inference.http_server import Silent, serve_http
from vtn import Predictor
from vtn.cli import explain
from vtn.predictor.videos import as_source


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:geheim@host:554/a?channel=1", "rtsp://***@host:554/a?channel=1"),
        ("rtsp://me:ge@h#e?i@m@host/a", "rtsp://***@host/a"),
        ("https://geheim@host/@user/a.mp4", "https://***@host/@user/a.mp4"),
        ("http://host/a.mp4?user=me&PWD=geheim&size=4", "http://host/a.mp4?user=me&PWD=***&size=4"),
        (
            "https://host/a?X-Amz-Date=1&X-Amz-Signature=geheim",
            "https://host/a?X-Amz-Date=1&X-Amz-Signature=***",
        ),
        ("https://host/a?sv=1&sig=geheim%2F%3D", "https://host/a?sv=1&sig=***"),
        ("srt://host:9000?passphrase=geheim", "srt://host:9000?passphrase=***"),
        ("https://host/a?t=exp=1~hmac=geheim", "https://host/a?t=exp=1~hmac=***"),
        ("cannot open rtsp://a:b@c/d now", "cannot open rtsp://***@c/d now"),
        ("clips/a@b?key=c.mp4", "clips/a@b?key=c.mp4"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert without_secrets(text) == without_secrets(shown) == shown


@pytest.fixture
def server(videos: Path) -> Iterator[str]:
    """An address with two secrets, of a server that has a video at every path but ``/missing``."""

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/missing"):
                self.send_error(404)
                return
            content = (videos / "12.mp4").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serve_http(Handler) as host:
        yield f"http://me:geheim@{host}{{}}?token=geheim"


def test_results_have_no_secrets(
    published: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [f"--{kind}={tmp_path / kind}" for kind in ("json", "csv", "jsonl")]
    videos = [server.format(path) for path in ("/video", "/missing")]
    assert predict_on_cpu([str(published), *videos, *files]) == 1
    assert predict_on_cpu([str(published), videos[0], "--live=1", f"--jsonl={tmp_path / 'live'}"]) == 0
    page = ["--output", str(tmp_path / "page.html"), "--no-regions", "--device=cpu"]
    assert exit_status(explain.main, [str(published), videos[0], *page]) == 0
    shown = capsys.readouterr()
    written = [path.read_text(errors="replace") for path in tmp_path.iterdir()]
    assert len(written) > 5
    assert not [text for text in (shown.out, shown.err, *written) if "geheim" in text]
    assert without_secrets(videos[1]) in shown.err


@pytest.mark.parametrize("address", ["rtsp://me:geheim@127.0.0.1:1/a", "rstp://me:geheim@127.0.0.1:1/a"])
@pytest.mark.parametrize("options", [[], ["--live=1"]])
def test_refusals_have_no_secrets(
    address: str, options: list[str], published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_on_cpu([str(published), address, *options]) == 1
    message = capsys.readouterr().err
    assert without_secrets(address) in message
    assert "geheim" not in message


def test_a_checkpoint_with_its_configuration_takes_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--cfg=QUICKSTART", "--checkpoint=weights.pyth"]
    assert predict_on_cpu([*options, "http://me:geheim@127.0.0.1:1/a"]) == 2
    message = capsys.readouterr().err
    assert "for an address use vtn predict weights.pyth ADDRESS --cfg QUICKSTART" in message
    assert "geheim" not in message


def test_tracebacks_have_no_secrets(published: Path, server: str) -> None:
    with pytest.raises(DecodeError) as lost:
        next(Predictor(published, device="cpu").follow("rtsp://me:geheim@127.0.0.1:1/a", last_seconds=1))
    with pytest.raises(DecodeError) as missing:
        as_source(server.format("/missing"), default_fps=1).open()
    (refused,) = Predictor(published, device="cpu").stream(["rtsp://me:geheim@127.0.0.1:1/a"])
    assert (refused.video, refused.reason) == ("rtsp://***@127.0.0.1:1/a", "input")
    assert "geheim" not in refused.error
    for error in (lost.value, missing.value):
        assert "geheim" not in "".join(line for line in traceback.format_exception(error) if "Error" in line)
