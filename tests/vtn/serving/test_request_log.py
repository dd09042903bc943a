"""A line of the log per request, and the sums of all requests for Prometheus."""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path

import pytest

from tests.support.serving.running import Running, wait_for
from vtn.serving.request_log import Metrics, RequestRecord


def values_of(text: str) -> dict[str, float]:
    """Returns the values of a text of Prometheus."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def read_metrics(server: Running) -> dict[str, float]:
    """Returns the metrics of a server."""
    with server.client() as client:
        answer = client.get("/metrics", headers={"Host": "10.0.0.7"})  # as a scraper names it
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return values_of(answer.text)


def test_each_request_is_a_line_and_is_counted(
    server: Running, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = read_metrics(server)
    content = (videos / "13.mp4").read_bytes()
    with caplog.at_level(logging.INFO, "vtn.serving.request_log"):
        good = server.send(content, "secret.mp4")
        bad = server.send(b"secret", "secret.mp4")
        # A line comes after its answer, so that the first may be of an earlier test.
        numbers = [answer.headers["x-request-id"] for answer in (good, bad)]
        wait_for(lambda: all(number in caplog.text for number in numbers))
    after = read_metrics(server)
    pattern = r"POST /predict (\d+) id=(\w+) bytes=(\d+) upload=\S+ wait=\S+ compute=\S+"
    lines = {line[2]: line for text in caplog.messages if (line := re.fullmatch(pattern, text))}
    assert [lines[number][1] for number in numbers] == ["200", "422"]
    assert int(lines[numbers[0]][3]) > len(content)
    for outcome in ("200", "422"):
        name = f'vtn_requests_total{{outcome="{outcome}"}}'
        assert after[name] == before.get(name, 0) + 1
    for stage in ("upload", "wait", "compute"):
        name = f'vtn_stage_seconds_count{{stage="{stage}"}}'
        assert after[name] == before[name] + 2
    assert after["vtn_workers_ready"] == 1
    assert after["vtn_requests_in_progress"] == 0


def test_an_aborted_upload_is_a_line(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vtn.serving.request_log"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(
                b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
            wait_for(lambda: server.service.num_uploads)
        wait_for(lambda: re.search(r"POST /predict aborted id=\w+ bytes=5 upload=", caplog.text))


def test_buckets_count_all_requests_up_to_their_bound() -> None:
    metrics = Metrics()
    for seconds in (0.01, 0.2, 5.0, 1000.0):
        metrics.add(RequestRecord(seconds={"compute": seconds}, outcome="200", num_bytes=10_000_001))
    found = values_of(metrics.describe(gauges={}, counters={}))
    bounds = {"0.01": 1, "0.1": 1, "0.3": 2, "3.0": 2, "10.0": 3, "100.0": 3, "+Inf": 4}
    for bound, count in bounds.items():
        assert found[f'vtn_stage_seconds_bucket{{stage="compute",le="{bound}"}}'] == count
    assert found['vtn_stage_seconds_sum{stage="compute"}'] == pytest.approx(1005.21)
    assert found["vtn_received_bytes_total"] == 40_000_004
    assert found['vtn_requests_total{outcome="200"}'] == 4
