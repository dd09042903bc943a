"""The end of a worker is the video's fault only where a decoder crashes at it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.serving.running import LIMITS
from vtn.serving.app import create_app
from vtn.serving.messages import ModelSource
from vtn.serving.service import Service
from vtn.serving.uploads import UploadFolder
from vtn.serving.worker_pool import WorkerPool

# Imported with the model: the process ends at videos in a way that depends on their number of frames. Like
# some packages, the module makes a temporary folder when it is imported; a killed process cannot remove it.
DEADLY = """
import os, signal, tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from slowfast.video.decoding import open_video
from vtn.predictor.explained import ExplainsVideos

tempfile.mkdtemp("of-a-package")
overview, receive = ExplainsVideos.overview, Connection.recv

def end_or_overview(self, path, *, pictures):
    with open_video(path) as video:
        frames = video.times.num_frames
    if frames == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if frames == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("a defect")

def end_at_a_job(self):
    if Path(__file__).with_name("before").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return receive(self)

ExplainsVideos.overview, Connection.recv = end_or_overview, end_at_a_job
"""


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of Python that makes the worker die."""
    file = tmp_path_factory.mktemp("deadly") / "deadly.py"
    file.write_text(DEADLY)
    return file


@pytest.fixture(scope="module")
def client(published: Path, deadly: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server whose worker dies; the server is checked to leave no file."""
    base, system = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("system")
    base.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(system))
        folder = UploadFolder(base)
        source = ModelSource(str(published), {"device": "cpu", "imports": [str(deadly)]})
        pool = WorkerPool(source, 1, folder.worker_path)
        pool.start()
        yield TestClient(create_app(Service("DEADLY", pool, folder, LIMITS)))
        pool.close()
        assert [path.name for path in folder.worker_path.iterdir()] != []
        folder.close()
        assert list(base.iterdir()) == []
        assert list(system.iterdir()) == []
    assert tempfile.gettempdir() != str(system)


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("01.mp4", 422, "the video ended the process that decodes it"),
        ("13.mp4", 503, "the process with the model was ended while it worked on the video"),
        ("40.mp4", 500, "the model failed while it scored the video"),
    ],
)
def test_a_process_that_ends_at_a_video(
    client: TestClient, videos: Path, name: str, status: int, error: str
) -> None:
    answer = client.post("/predict", files={"video": (videos / name).read_bytes()})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("retry-after" in answer.headers) is (status == 503)


def test_a_process_that_ends_before_it_takes_a_video(client: TestClient, videos: Path, deadly: Path) -> None:
    mark = deadly.with_name("before")
    try:
        mark.touch()
        answer = client.post("/predict", files={"video": (videos / "13.mp4").read_bytes()})
    finally:
        mark.unlink()
    assert (answer.status_code, answer.json()["error"]) == (503, "the model is not available")
    assert answer.headers["retry-after"]
