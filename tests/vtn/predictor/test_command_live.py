"""``vtn predict SOURCE VIDEO`` with live sources and addresses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.inference.command import predict_on_cpu
from tests.support.videos import write_video
from vtn import Predictor


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


def test_a_live_source(
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


class SilentHandler(SimpleHTTPRequestHandler):
    """A handler of requests for files that prints no line per request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(videos: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a folder with a video and a playlist that names a file of this computer."""
    folder = tmp_path / "served"
    folder.mkdir()
    write_video(folder / "video.mkv", 12, size=(48, 48), fps=10)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{videos / '12.mp4'}\n#EXT-X-ENDLIST\n"
    (folder / "playlist.m3u8").write_text(playlist)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SilentHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_address(published: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"{server}/video.mkv"
    assert predict_on_cpu([str(published), address]) == 0
    local = Predictor(published, device="cpu")(tmp_path / "served" / "video.mkv")
    shown = capsys.readouterr().out
    assert shown == local.describe().replace(str(tmp_path / "served" / "video.mkv"), address) + "\n"
    assert predict_on_cpu([str(published), f"{server}/missing.mkv", f"{server}/playlist.m3u8"]) == 1
    missing, playlist, _ = capsys.readouterr().err.splitlines()
    assert f"vtn predict: {server}/missing.mkv: " in missing
    assert "playlist, a network stream or a list of other files, which are not followed" in playlist
