"""The command prints the address, serves, and ends without leaving a process or a file."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.serving.running import wait_for
from vtn.cli.main import COMMANDS
from vtn.cli.serve import main
from vtn.serving.worker_pool import WorkerPool

COMMAND = [sys.executable, str(Path(__file__).parents[3] / "tools" / "serve.py")]


@contextmanager
def started(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yields a running command and its address."""
    command = [*COMMAND, *map(str, arguments), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://\S+) \(Ctrl-C ends the server\)", line)
        try:
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


def test_the_command_serves_and_ends(published: Path, videos: Path, tmp_path: Path) -> None:
    base = tmp_path / "folder"
    with started(published, "--examples", videos, "--folder", base) as (process, url):
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            assert len(client.get("/examples").json()) == 3
            answer = client.post("/predict", files={"video": (videos / "13.mp4").read_bytes()})
            kind = {"content-type": "multipart/form-data; boundary=b"}
            assert client.post("/predict", content=b"--b\r\nA B\r\n", headers=kind).status_code == 400
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as scanner:
            scanner.sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
            assert scanner.recv(100).startswith(b"HTTP/1.1 400 ")
        assert answer.status_code == 200, answer.text
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert re.fullmatch(
            r"\S+ \S+ POST /predict 200 id=\w+ bytes=\d+ upload=\S+ wait=\S+ compute=\S+\n"
            r"\S+ \S+ POST /predict 400 id=\w+ bytes=\d+ upload=\S+\n"
            r"\S+ \S+ Invalid HTTP request received\.\n",
            errors,
        )
    assert list(base.iterdir()) == []
    wait_for(lambda: not any(child.is_running() for child in children))


BLOCKING = """
import time
from pathlib import Path
while not Path(__file__).with_name("go").exists():
    time.sleep(0.01)
"""


def free_port() -> int:
    """Returns the number of a port that no program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_loading(client: httpx.Client) -> bool:
    """Returns whether the server answers that it is not ready."""
    try:
        return client.get("/health/ready").status_code == 503
    except httpx.TransportError:  # it does not listen yet
        return False


@pytest.mark.parametrize("is_stopped", [False, True])
def test_probes_are_answered_while_the_model_is_loaded(
    published: Path, tmp_path: Path, is_stopped: bool
) -> None:
    (tmp_path / "blocking.py").write_text(BLOCKING)
    port, base = free_port(), tmp_path / "folder"
    options = ["--port", port, "--device", "cpu", "--folder", base, "--imports", tmp_path / "blocking.py"]
    command = [*COMMAND, str(published), *map(str, options)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        try:
            wait_for(lambda: is_loading(client))
            assert client.get("/health/live").status_code == 200
            if not is_stopped:
                (tmp_path / "go").touch()
                assert process.stdout is not None
                assert f"http://127.0.0.1:{port} (Ctrl-C" in process.stdout.readline()
                assert client.get("/health/ready").json() == {"status": "ok"}
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")
    assert list(base.iterdir()) == []


@pytest.mark.faults
def test_a_killed_server_leaves_no_process(published: Path, tmp_path: Path) -> None:
    with started(published, "--folder", tmp_path / "folder") as (process, _):
        children = psutil.Process(process.pid).children()
        assert children
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    wait_for(lambda: not any(child.is_running() for child in children))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing"], "missing"),
        (["SOURCE", "--examples", "missing"], "--examples missing: must be a folder with videos"),
        (["SOURCE", "--host", "192.0.2.1"], "--host 192.0.2.1 --port 8000: cannot be listened on"),
    ],
)
def test_wrong_arguments_are_named_and_leave_no_file(
    arguments: list[str], text: str, published: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [str(published) if word == "SOURCE" else word for word in arguments]
    port = [] if "--host" in argv else ["--port", "0"]
    assert main([*argv, *port, "--folder", str(tmp_path / "folder")]) == 1
    assert text in capfd.readouterr().err
    assert not (tmp_path / "folder").exists() or list((tmp_path / "folder").iterdir()) == []


def test_another_host_is_named_in_a_warning(
    published: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    monkeypatch.setattr(WorkerPool, "start", lambda self: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    options = ["--port", "0", "--device", "cpu", "--folder", str(tmp_path / "folder")]
    assert main([str(published), "--host", "0.0.0.0", *options]) == 0
    assert "--host 0.0.0.0: every computer that reaches this address" in capfd.readouterr().err


def test_the_extra_is_named_where_packages_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    with pytest.raises(SystemExit):
        main(["source"])
    assert 'uvicorn: not installed; pip install "slowfast-vtn[serve]"' in capsys.readouterr().err


def test_the_command_is_one_of_vtn() -> None:
    assert COMMANDS["serve"] == "vtn.cli.serve"
