"""Clients that connect and send no complete header do not keep others from the server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection

import pytest

from tests.support.serving.running import Running
from vtn.serving import protection

BEGIN = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"


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
