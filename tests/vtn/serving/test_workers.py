"""Worker processes start again after any end, and a start that fails is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from slowfast.errors import ModelError
from vtn.serving.worker import Done, Job, ModelSource
from vtn.serving.worker_pool import Worker, WorkerPool, WorkerUnavailable

SECONDS = 60.0


@pytest.fixture
def worker(published: Path) -> Iterator[Worker]:
    worker = Worker(ModelSource(str(published), {"device": "cpu"}))
    yield worker
    worker.close()


@pytest.fixture
def job(videos: Path, tmp_path: Path) -> Job:
    (tmp_path / "upload").write_bytes((videos / "13.mp4").read_bytes())
    return Job(tmp_path, "13.mp4", SECONDS)


def fail_to_start(process: SpawnProcess) -> None:
    raise OSError(11, "Resource temporarily unavailable")


def test_a_start_that_failed_is_tried_again(
    worker: Worker, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SpawnProcess, "start", fail_to_start)
        for _ in range(2):
            with pytest.raises(WorkerUnavailable, match="Resource temporarily unavailable"):
                worker.run(job, SECONDS)
        assert worker.process_id is None
        worker.stop()
    assert isinstance(worker.run(job, SECONDS), Done)


def test_a_pool_that_cannot_start_says_why(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpawnProcess, "start", fail_to_start)
    with pytest.raises(ModelError, match="Resource temporarily unavailable"):
        WorkerPool(ModelSource(str(published)), 2).start()
