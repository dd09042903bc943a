"""Many clients at once: each is answered, and afterwards no place, file or process is lost.

Clients that connect and send no complete header do not keep others from the server.
"""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from tests.support.broken_corpus import make_corpus
from tests.support.serving.running import LIMITS, Running, wait_for
from vtn.serving import protection

CLIENTS = 20
CUT_OFF = "cut off"
BEGIN = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def send_and_hang_up(server: Running, content: bytes) -> str:
    """Sends a part of an upload and closes the connection."""
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + content[: len(content) // 2])
    return CUT_OFF


def upload_all(server: Running, uploads: Sequence[tuple[bytes, bool]]) -> Counter[int | str]:
    """Sends (content, cut off) by 20 clients at once; returns the number of answers by their status."""

    def send(upload: tuple[bytes, bool]) -> int | str:
        content, is_cut = upload
        return send_and_hang_up(server, content) if is_cut else server.send(content).status_code

    with ThreadPoolExecutor(CLIENTS) as clients:
        found = Counter(clients.map(send, uploads))
    wait_for(lambda: server.service.num_requests == 0)
    return found


def test_twenty_clients_at_once_are_all_answered(server: Running, videos: Path) -> None:
    content = (videos / "13.mp4").read_bytes()
    uploads = [(b"not a video" if k % 4 == 0 else content, k % 10 == 9) for k in range(CLIENTS)]
    assert upload_all(server, uploads) == {200: 13, 422: 5, CUT_OFF: 2}
    assert server.service.pool.status == "ok"


@pytest.mark.faults
def test_two_hundred_uploads_leave_no_memory(server: Running, videos: Path, tmp_path: Path) -> None:
    """A quarter of the uploads is broken, cut off in the middle, or hostile."""
    chooser = random.Random(0)
    good = [path.read_bytes() for path in sorted(videos.glob("*.mp4"))]
    broken = [
        Path(case.path).read_bytes()[: LIMITS.upload_bytes]
        for name, case in make_corpus(tmp_path).items()
        if name.startswith(("truncated", "damaged", "not_videos", "huge", "playlists"))
    ]
    (worker,) = server.service.pool.workers
    wait_for(lambda: worker.is_ready)
    process, replaced = worker.process_id, server.service.pool.num_replaced
    assert process is not None
    upload_all(server, [(chooser.choice(good), False) for _ in range(CLIENTS)])  # memory reaches its level
    before = psutil.Process(process).memory_info().rss, psutil.Process().memory_info().rss
    uploads = [(chooser.choice(good), False) for _ in range(150)]
    uploads += [(chooser.choice(broken), False) for _ in range(40)]
    uploads += [(chooser.choice(good), True) for _ in range(10)]
    chooser.shuffle(uploads)
    found = upload_all(server, uploads)
    after = psutil.Process(process).memory_info().rss, psutil.Process().memory_info().rss
    print(f"answers {dict(found)}, worker {before[0] >> 20} -> {after[0] >> 20} MiB, "
          f"server {before[1] >> 20} -> {after[1] >> 20} MiB")  # fmt: skip
    assert sum(found.values()) == 200
    assert set(found) <= {200, 413, 422, CUT_OFF}
    assert found[200] >= 150
    assert found[CUT_OFF] == 10
    assert (worker.process_id, server.service.pool.num_replaced) == (process, replaced)
    assert after[0] - before[0] < 300 << 20
    assert after[1] - before[1] < 100 << 20


@contextmanager
def connected(server: Running, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Yields connections on which a client has sent some bytes."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60)))
            clients[-1].sendall(sent)
        yield clients


@pytest.mark.parametrize("sent", [b"", BEGIN, BEGIN + b"\r\n" + BEGIN])
def test_a_connection_without_a_complete_header_is_closed(
    sent: bytes, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protection, "HEADER_SECONDS", 0.3)
    with connected(server, 3, sent) as clients:
        for client in clients:
            answer = b""
            while part := client.recv(10_000):  # the socket would raise TimeoutError
                answer += part
            assert answer.count(b"HTTP/1.1 200 OK") == (2 * len(BEGIN) + 2 == len(sent))


def test_a_client_that_reads_nothing_is_disconnected(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protection, "ANSWER_SECONDS", 0.3)
    requests = (BEGIN + b"\r\n") * 500_000  # with more answers than the buffers of the system hold
    with connected(server, 1) as (client,), pytest.raises(ConnectionError):
        client.sendall(requests)


def test_a_connection_is_kept_for_the_next_request(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "HEADER_SECONDS", 0.05)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    used = connection.sock
    for _ in range(3):
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
        time.sleep(0.2)  # longer than a header may take
    assert connection.sock is used
    connection.close()


def test_further_connections_are_closed_at_once(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as few:
        few.setattr(protection, "MAX_CONNECTIONS", 5)
        with connected(server, 5), connected(server, 1) as (client,):
            assert client.recv(1) == b""
    with server.client() as http:
        assert http.get("/health/live").status_code == 200
