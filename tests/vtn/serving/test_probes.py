"""Probes tell a load balancer when to send videos, and a supervisor when to restart the server."""

from __future__ import annotations

import errno
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


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of two workers, neither of which has been started."""
    pool = WorkerPool(ModelSource("model"), 2)
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


def test_the_schema_has_both_answers(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/health", "/health/ready", "/health/live"):
        assert {"200", "503"} <= set(paths[path]["get"]["responses"])
