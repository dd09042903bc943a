"""A server with a tiny model, as its clients see it: a real port, and a worker process of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from tests.support.serving.running import LIMITS, Running, wait_for
from tests.support.tiny_models import SHALLOW, publish_tiny
from tests.support.videos import write_csv, write_video
from vtn.serving.app import create_app
from vtn.serving.messages import ModelSource
from vtn.serving.protection import LOOPBACK_NAMES, LimitedConnection
from vtn.serving.service import Service
from vtn.serving.uploads import UploadFolder
from vtn.serving.worker_pool import WorkerPool


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``vtn publish`` writes, of a tiny VTN that a worker process loads in the least time."""
    return publish_tiny(tmp_path_factory.mktemp("published"), *SHALLOW)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos of 1, 13 and 40 frames at 10 frames per second."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [
        write_video(folder / f"{frames:02}.mp4", frames, size=(48, 64), fps=10) for frames in (1, 13, 40)
    ]
    write_csv(folder / "test.csv", [(path, 0) for path in paths])
    return folder


@pytest.fixture(scope="session")
def running(published: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server; it is checked to leave nothing behind."""
    base = tmp_path_factory.mktemp("server")
    base.chmod(0o700)
    folder = UploadFolder(base)
    pool = WorkerPool(ModelSource(str(published), {"device": "cpu"}), 1, folder.worker_path)
    service = Service("TINY", pool, folder, LIMITS, sorted(videos.glob("*.mp4")))
    service.pool.start()
    app = create_app(service, hosts=LOOPBACK_NAMES)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    options = {"http": LimitedConnection, "timeout_graceful_shutdown": 2}
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = listener.getsockname()[1]
    yield Running(f"http://127.0.0.1:{port}", port, service)
    server.should_exit = True
    thread.join(30)
    assert list(base.iterdir()) == []
    assert [worker.process_id for worker in pool.workers] == [None]


@pytest.fixture
def server(running: Running) -> Iterator[Running]:
    """The server between two tests: no request, no file."""
    yield running
    wait_for(lambda: running.service.num_requests == 0 and not running.files())
