"""The end of a worker is the video's fault only where a decoder crashes at it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from multiprocessing.popen_spawn_posix import Popen
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.serving.running import LIMITS
from tests.support.serving.stand_in import DONE, ERROR, run_stand_in
from vtn.serving.app import create_app
from vtn.serving.messages import ModelSource
from vtn.serving.service import Service
from vtn.serving.uploads import UploadFolder
from vtn.serving.worker_pool import WorkerPool


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of a server whose uploads say what becomes of the worker."""
    monkeypatch.setattr("vtn.serving.worker_process.answer_jobs", run_stand_in)
    folder = UploadFolder(tmp_path / "base")
    pool = WorkerPool(ModelSource(str(tmp_path)), 1, folder.worker_path)
    pool.start()
    yield TestClient(create_app(Service("MODEL", pool, folder, LIMITS)))
    pool.close()
    folder.close()


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"SIGSEGV", 422, "the video ended the process that decodes it"),
        (b"SIGKILL", 503, "the process with the model was ended while it worked on the video"),
        (ERROR, 500, "the model failed while it scored the video"),
    ],
)
def test_a_process_that_ends_at_a_video(client: TestClient, content: bytes, status: int, error: str) -> None:
    answer = client.post("/predict", files={"video": content})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("retry-after" in answer.headers) is (status == 503)


def test_an_exit_code_that_another_thread_sets_a_moment_later(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, unknown = Popen.poll, iter(range(3))

    def poll_late(self: Popen, flag: int = os.WNOHANG) -> int | None:
        code = poll(self, flag)
        return code if code is None or next(unknown, None) is None else None

    monkeypatch.setattr(Popen, "poll", poll_late)
    assert client.post("/predict", files={"video": b"SIGSEGV"}).status_code == 422


def test_a_process_that_ends_before_it_takes_a_video(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "before").touch()
    answer = client.post("/predict", files={"video": DONE})
    assert (answer.status_code, answer.json()["error"]) == (503, "the model is not available")
    assert answer.headers["retry-after"]


# Imported with the model. Like some packages, the module makes a temporary folder when it is imported; a
# killed process cannot remove it.
DEFECTIVE = """
import tempfile
from vtn.predictor.explained import ExplainsVideos

tempfile.mkdtemp("of-a-package")

def fail(self, path, *, pictures):
    raise RuntimeError("a defect")

ExplainsVideos.overview = fail
"""


def test_a_defect_ends_the_process_and_its_files_are_removed(
    published: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, system, module = tmp_path / "base", tmp_path / "system", tmp_path / "defective.py"
    module.write_text(DEFECTIVE)
    system.mkdir()
    monkeypatch.setenv("TMPDIR", str(system))
    folder = UploadFolder(base)
    source = ModelSource(str(published), {"device": "cpu", "imports": [str(module)]})
    pool = WorkerPool(source, 1, folder.worker_path)
    pool.start()
    client = TestClient(create_app(Service("DEFECTIVE", pool, folder, LIMITS)))
    answer = client.post("/predict", files={"video": (videos / "13.mp4").read_bytes()})
    assert (answer.status_code, pool.num_replaced) == (500, 1)
    pool.close()
    assert [path.name for path in folder.worker_path.iterdir()] != []
    folder.close()
    assert list(base.iterdir()) == list(system.iterdir()) == []
    assert tempfile.gettempdir() != str(system)
