"""Uploads that cannot be answered get a reason and a remedy, and leave no file and no place in the queue."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.broken_corpus import make_corpus
from tests.support.serving.running import LIMITS, Running, wait_for

FEW = (
    "truncated/cut_at_0.02.mp4", "truncated/moov_lost.mp4", "damaged/packets_zero.mp4",
    "damaged/two_billion_frames.mp4", "odd/audio_only.mp4", "not_videos/empty.mp4", "not_videos/noise.mp4",
    "not_videos/boxes_in_boxes.mp4", "huge/claims.png", "playlists/list_absolute.m3u8",
    "playlists/concat.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Broken and hostile files by name."""
    return {name: Path(case.path) for name, case in make_corpus(tmp_path_factory.mktemp("corpus")).items()}


@pytest.mark.parametrize("name", FEW)
def test_broken_and_hostile_files_are_refused(name: str, server: Running, corpus: dict[str, Path]) -> None:
    answer = server.send(corpus[name].read_bytes(), corpus[name].name)
    check_refusal(answer, 422, "cannot be decoded", server)


@pytest.mark.faults
def test_each_file_of_the_corpus_is_answered(server: Running, corpus: dict[str, Path]) -> None:
    files = [path for path in corpus.values() if path.name and "\0" not in str(path) and is_file(path)]
    assert len(files) > 90
    for path in files:
        answer = server.send(path.read_bytes()[: LIMITS.upload_bytes], "odd.mp4")
        if answer.status_code != 200:
            assert answer.status_code in (413, 422, 504), (path, answer.text)
            check_refusal(answer, answer.status_code, "", server)
    assert server.service.pool.num_replaced == 0


def is_file(path: Path) -> bool:
    """Returns whether a path is a regular file, also for paths that cannot exist."""
    try:
        return path.is_file()
    except OSError:
        return False


def check_refusal(answer: httpx.Response, status: int, text: str, server: Running) -> None:
    """Checks status and reason, and that no path of the server is in the answer."""
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error", "remedy"}
    assert content["remedy"]
    assert text in content["error"]
    assert str(server.service.folder.path.parent) not in answer.text
    assert "request-" not in answer.text


@pytest.fixture
def limit(server: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The server with a limit of 100 kB and 2 seconds."""
    limits = replace(LIMITS, upload_bytes=100_000, video_seconds=2.0)
    monkeypatch.setattr(server.service, "limits", limits)
    return server


def test_a_large_upload_is_refused_while_it_arrives(limit: Running, videos: Path) -> None:
    check_refusal(limit.send(bytes(250_000)), 413, "larger than 0.1 MB", limit)

    def form() -> Iterator[bytes]:  # without Content-Length
        yield b'--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\n'
        for _ in range(12):
            yield bytes(10_000)

    with limit.client() as client:
        kind = {"content-type": "multipart/form-data; boundary=b"}
        check_refusal(client.post("/predict", content=form(), headers=kind), 413, "larger than", limit)
    assert limit.send((videos / "13.mp4").read_bytes()).status_code == 200


@pytest.mark.parametrize("asks", [b"", b"Expect: 100-continue\r\n"])
def test_an_upload_that_is_declared_too_large_is_refused_before_it_arrives(
    asks: bytes, limit: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vtn.serving.form._DRAIN_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", limit.port)) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n" + asks + b"\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_other_fields_are_bounded(limit: Running) -> None:
    with limit.client() as client:
        answer = client.post("/predict", files={"other": ("x", bytes(120_000))})
    check_refusal(answer, 413, "more than 65 kB beside the video", limit)


def test_a_long_video_is_refused(limit: Running, videos: Path) -> None:
    answer = limit.send((videos / "40.mp4").read_bytes())
    check_refusal(answer, 422, "the video lasts 4 seconds; at most 2 are accepted", limit)


@pytest.mark.parametrize(
    ("kind", "content", "status", "text"),
    [
        ("application/json", b"{}", 415, "not a form"),
        ("multipart/form-data", b"", 415, "not a form"),
        ("multipart/form-data; boundary=b", b"", 400, "ends before"),
        ("multipart/form-data; boundary=b", b"no boundary", 400, "damaged"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=", 400, "ends"),
        ("multipart/form-data; boundary=" + "b" * 3000, b"--b", 400, "boundary"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
            400,
            "no file in the field 'video'",
        ),
        (
            "multipart/form-data; boundary=b",
            2 * b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\nx\r\n' + b"--b--\r\n",
            400,
            "several videos",
        ),
    ],
)
def test_wrong_forms_are_refused(server: Running, kind: str, content: bytes, status: int, text: str) -> None:
    with server.client() as client:
        answer = client.post("/predict", content=content, headers={"content-type": kind})
    check_refusal(answer, status, text, server)


HALF_AN_UPLOAD = (
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500000\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
) + bytes(10_000)


def test_an_upload_that_stops_leaves_nothing(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HALF_AN_UPLOAD)
        wait_for(lambda: server.service.num_requests == 1)
    wait_for(lambda: server.service.num_requests == 0)
    assert server.files() == []


def test_an_idle_upload_is_ended(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.service, "limits", replace(LIMITS, idle_seconds=0.2))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HALF_AN_UPLOAD)
        client.settimeout(60)
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")


def test_idle_uploads_do_not_fill_the_queue(
    server: Running, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.service, "limits", replace(LIMITS, queue_length=2, num_uploads=3))
    content = (videos / "13.mp4").read_bytes()
    with ExitStack() as stack:

        def upload_half() -> None:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(HALF_AN_UPLOAD)

        upload_half()
        upload_half()
        wait_for(lambda: server.service.num_uploads == 2)
        assert server.send(content).status_code == 200
        upload_half()
        wait_for(lambda: server.service.num_uploads == 3)
        check_refusal(server.send(content), 429, "3 requests are being received already", server)


def test_a_slow_upload_is_ended(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.service, "limits", replace(LIMITS, upload_seconds=0.3))
    done = threading.Event()

    def form() -> Iterator[bytes]:
        yield b"--b\r\n"
        done.wait(1)
        yield b'Content-Disposition: form-data; name="video"\r\n\r\n'

    with server.client() as client:
        kind = {"content-type": "multipart/form-data; boundary=b"}
        check_refusal(client.post("/predict", content=form(), headers=kind), 408, "0.3 seconds", server)


def health(server: Running) -> dict[str, Any]:
    """Returns the answer of /health."""
    with server.client() as client:
        content: dict[str, Any] = client.get("/health").json()
    return content


@pytest.fixture
def stopped(server: Running) -> Iterator[int]:
    """The number of the worker's process, which is stopped until it receives SIGCONT or SIGKILL."""
    (worker,) = server.service.pool.workers
    wait_for(lambda: worker.is_ready)
    process = worker.process_id
    assert process is not None
    os.kill(process, signal.SIGSTOP)
    yield process
    if worker.process_id == process:
        os.kill(process, signal.SIGCONT)


def test_a_full_queue_refuses(
    server: Running, stopped: int, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.service, "limits", replace(LIMITS, queue_length=2))
    content = (videos / "13.mp4").read_bytes()
    with ThreadPoolExecutor(2) as clients:
        waiting = [clients.submit(server.send, content) for _ in range(2)]
        wait_for(lambda: server.service.num_jobs == 2)
        refused = server.send(content)
        os.kill(stopped, signal.SIGCONT)
        assert [one.result().status_code for one in waiting] == [200, 200]
    check_refusal(refused, 429, "2 requests are being answered already", server)
    assert refused.headers["retry-after"]


def test_a_client_that_leaves_frees_its_place_unless_its_video_is_computed(
    server: Running, stopped: int, videos: Path
) -> None:
    service = server.service
    replaced = service.pool.num_replaced
    content = (videos / "13.mp4").read_bytes()

    def leave() -> None:
        with server.client() as client, pytest.raises(httpx.ReadTimeout):
            client.post("/predict", files={"video": content}, timeout=httpx.Timeout(60, read=1))

    def uploads() -> list[Path]:
        return [path for path in server.files() if size_of(path) == len(content)]

    def size_of(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:  # removed meanwhile
            return 0

    with ThreadPoolExecutor(2) as clients:
        computed = clients.submit(leave)
        wait_for(lambda: len(uploads()) == 1)
        waiting = clients.submit(leave)
        wait_for(lambda: len(uploads()) == 2)
        computed.result()
        waiting.result()
    wait_for(lambda: service.num_requests == 1 and len(uploads()) == 1)  # while the worker is still stopped
    os.kill(stopped, signal.SIGCONT)
    wait_for(lambda: service.num_requests == 0)
    assert (service.pool.status, service.pool.num_replaced) == ("ok", replaced)
    assert server.send(content).status_code == 200


def test_a_worker_that_takes_too_long_or_dies_is_replaced(
    server: Running, stopped: int, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = server.service.pool
    (worker,) = pool.workers
    before = pool.num_replaced
    content = (videos / "13.mp4").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(server.service, "limits", replace(LIMITS, compute_seconds=0.3))
        check_refusal(server.send(content), 504, "within 0.3 seconds", server)
    assert health(server)["status"] == "starting"  # the client need not wait for the next process
    wait_for(lambda: health(server)["status"] == "ok")
    assert worker.process_id != stopped
    with ThreadPoolExecutor(1) as clients:
        assert server.send(content).status_code == 200  # by the replaced process
        second = worker.process_id
        assert second is not None
        os.kill(second, signal.SIGSTOP)
        waiting = clients.submit(server.send, content)
        wait_for(lambda: server.files() != [])
        os.kill(second, signal.SIGKILL)
        # By a third process, since the second took no video.
        assert waiting.result().status_code == 200
    assert pool.num_replaced == before + 2
    wait_for(lambda: health(server)["status"] == "ok")  # without a request
    assert server.send(content).status_code == 200
