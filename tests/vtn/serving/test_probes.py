"""Probes tell a load balancer when to send videos, and a supervisor when to restart the server."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from vtn.serving.app import create_app
from vtn.serving.form import VideoForm
from vtn.serving.limits import Limits
from vtn.serving.messages import ModelSource
from vtn.serving.protection import LOOPBACK_NAMES
from vtn.serving.service import Service
from vtn.serving.uploads import UploadFolder
from vtn.serving.worker_pool import WorkerPool
from vtn.serving.worker_process import WorkerProcess


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of two workers, neither of which has been started."""
    pool = WorkerPool(ModelSource("model"), 2, tmp_path)
    service = Service("MODEL", pool, UploadFolder(tmp_path / "base"), Limits())
    yield service
    service.close()


@pytest.fixture
def client(service: Service) -> TestClient:
    return TestClient(create_app(service, hosts=LOOPBACK_NAMES), base_url="http://localhost")


def probe(client: TestClient) -> tuple[int, int, str]:
    """Returns the statuses of HTTP of readiness and liveness, and the state in words."""
    ready, live = (client.get(f"/health/{kind}") for kind in ("ready", "live"))
    health = client.get("/health")
    assert health.status_code == ready.status_code
    assert health.json()["is_ready"] is (ready.status_code == 200)
    assert health.json()["status"] == ready.json()["status"] == live.json()["status"]
    return ready.status_code, live.status_code, ready.json()["status"]


def test_a_server_is_ready_while_a_worker_has_the_model(service: Service, client: TestClient) -> None:
    first, second = service.pool.workers
    assert probe(client) == (503, 200, "starting")
    first.is_ready = True
    assert probe(client) == (200, 200, "starting")
    second.is_ready = True
    assert probe(client) == (200, 200, "ok")
    first.is_ready, first.has_failed = False, True
    assert probe(client) == (200, 200, "failed")


def test_a_server_without_any_process_is_to_be_restarted(service: Service, client: TestClient) -> None:
    first, second = service.pool.workers
    first.has_failed = True
    assert probe(client) == (503, 200, "failed")
    second.has_failed = True
    assert probe(client) == (503, 503, "failed")
    first.is_ready, first.has_failed = True, False  # a request has started it again
    assert probe(client) == (200, 200, "failed")


def test_a_server_that_is_ready_takes_videos_while_other_workers_load(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refused them, as the model was being loaded, until all workers had it."""
    _, second = service.pool.workers
    is_loading, may_end = threading.Event(), threading.Event()

    def load(worker: WorkerProcess) -> None:
        if worker is second:
            is_loading.set()
            assert may_end.wait(60)
        worker.is_ready = True

    monkeypatch.setattr(WorkerProcess, "start", lambda worker: None)
    monkeypatch.setattr(WorkerProcess, "wait_until_ready", load)
    starting = threading.Thread(target=service.pool.start)
    starting.start()
    assert is_loading.wait(60)
    assert probe(client) == (200, 200, "starting")
    answer = client.post("/predict", files={"other": b"content"})
    may_end.set()
    starting.join()
    assert (answer.status_code, answer.json()["error"]) == (400, "the form has no file in the field 'video'")


def test_no_video_is_taken_before_the_model_is_loaded(client: TestClient) -> None:
    answer = client.post("/predict", files={"video": b"content"})
    assert answer.status_code == 503
    assert answer.json()["error"] == "the model is being loaded"
    assert answer.headers["retry-after"]


def test_probes_name_the_address_of_a_container(service: Service) -> None:
    client = TestClient(create_app(service, hosts=["example.org"]), base_url="http://10.0.0.7:8000")
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health").status_code == 403  # it tells more


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/examples", "/favicon.ico"])
def test_head_has_the_status_and_headers_of_get(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert head.headers == get.headers


def test_a_wrong_method_names_the_right_one(client: TestClient) -> None:
    answer = client.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_an_upload_to_a_full_disk_is_not_a_defect(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(form: VideoForm, data: bytes, start: int, end: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    service.pool.has_started = True
    monkeypatch.setattr(VideoForm, "_write", fail)
    answer = client.post("/predict", files={"video": b"content"})
    assert (answer.status_code, answer.json()["error"]) == (503, "the server has no room for the upload")
    assert answer.headers["retry-after"]
    assert list(service.folder.path.iterdir()) == [service.folder.worker_path]


def test_a_defect_is_answered_and_counted(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(form: VideoForm, data: bytes, start: int, end: int) -> None:
        raise RuntimeError("a defect")

    service.pool.has_started = True
    monkeypatch.setattr(VideoForm, "_write", fail)
    with caplog.at_level(logging.INFO, "vtn.serving"):
        client = TestClient(create_app(service))  # which raises what the server would log once more
        answer = client.post("/predict", files={"video": b"content"})
        metrics = client.get("/metrics").text
    assert (answer.status_code, answer.json()["error"]) == (500, "the server has a defect")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f"POST /predict 500 id={answer.headers['x-request-id']} " in caplog.text
    assert 'vtn_requests_total{outcome="500"} 1' in metrics
    assert "RuntimeError: a defect" in caplog.text


def test_an_address_with_a_slash_too_many_does_not_exist(client: TestClient) -> None:
    # A redirection would name the server as the proxy in front of it does, and curl would show nothing.
    answer = client.post("/predict/", follow_redirects=False)
    assert (answer.status_code, answer.json()["error"]) == (404, "not found")


def test_names_of_the_model_and_examples_are_safe_to_show(service: Service, tmp_path: Path) -> None:
    service.name = "M\n\u202eodel"
    service.examples = [tmp_path / "line\nbreak \u202e4pm.exe"]
    client = TestClient(create_app(service))
    assert client.get("/health").json()["model"] == "M��odel"
    assert client.get("/examples").json() == [{"number": 0, "name": "line�break �4pm.exe"}]


def test_the_schema_has_both_answers(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/health", "/health/ready", "/health/live"):
        assert {"200", "503"} <= set(paths[path]["get"]["responses"])
