"""Worker processes start again after any end, and a start that fails is tried again."""

from __future__ import annotations

import asyncio
import functools
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from slowfast.errors import ModelError
from tests.support.serving.running import wait_for
from tests.support.serving.stand_in import DONE, WAIT, run_stand_in
from vtn.serving.messages import UPLOAD_NAME, Done, Job, ModelSource
from vtn.serving.request_log import RequestRecord
from vtn.serving.worker_pool import PoolStopped, WorkerPool
from vtn.serving.worker_process import OutOfTime, WorkerProcess, WorkerUnavailable

SECONDS = 60.0


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtn.serving.worker_process.answer_jobs", run_stand_in)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(ModelSource(str(tmp_path)), tmp_path)
    yield worker
    worker.close()


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    pool = WorkerPool(ModelSource(str(tmp_path)), 1, tmp_path)
    pool.start()
    yield pool
    pool.close()


def write_job(folder: Path, content: bytes) -> Job:
    (folder / UPLOAD_NAME).write_bytes(content)
    return Job(folder, "video.mp4", SECONDS)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return write_job(tmp_path, DONE)


async def run(pool: WorkerPool, job: Job, seconds: float = SECONDS) -> object:
    """Returns the answer to a job for a client that stays."""
    return await pool.run(job, seconds, asyncio.Event().wait, RequestRecord())


def end_at_once(action: Callable[[], None], *arguments: object) -> None:
    action()


def fail_to_start(process: SpawnProcess) -> None:
    raise OSError(11, "Resource temporarily unavailable")


def test_a_start_that_failed_is_tried_again(
    worker: WorkerProcess, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SpawnProcess, "start", fail_to_start)
        for _ in range(2):
            with pytest.raises(WorkerUnavailable, match="Resource temporarily unavailable"):
                worker.run(job, SECONDS)
        assert worker.process_id is None
        worker.stop()
    assert isinstance(worker.run(job, SECONDS), Done)


def test_a_pool_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpawnProcess, "start", fail_to_start)
    with pytest.raises(ModelError, match="Resource temporarily unavailable"):
        WorkerPool(ModelSource(str(tmp_path)), 2, tmp_path).start()


@pytest.mark.parametrize(
    ("action", "end"), [(os.abort, "ended by signal SIGABRT"), (sys.exit, "ended with status 0")]
)
def test_a_process_that_ends_in_its_start_says_how(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], end: str
) -> None:
    monkeypatch.setattr("vtn.serving.worker_process.answer_jobs", functools.partial(end_at_once, action))
    with pytest.raises(WorkerUnavailable, match=f"{end} while it was loaded"):
        worker.wait_until_ready()


def test_a_process_that_cannot_be_replaced_is_reported(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = write_job(tmp_path, WAIT)
    with monkeypatch.context() as patch:
        patch.setattr(SpawnProcess, "start", fail_to_start)
        with pytest.raises(OutOfTime):
            asyncio.run(run(pool, job, 0.0))
        wait_for(lambda: pool.status == "failed")
        with pytest.raises(WorkerUnavailable):
            asyncio.run(run(pool, job))
    assert "cannot be started again" in caplog.text
    job = write_job(tmp_path, DONE)
    assert isinstance(asyncio.run(run(pool, job)), Done)
    assert pool.status == "ok"


def test_a_pool_is_closed_while_a_process_is_replaced(pool: WorkerPool, tmp_path: Path) -> None:
    (tmp_path / "loading").touch()
    job = write_job(tmp_path, WAIT)

    async def run_two() -> list[object]:
        waiting = [asyncio.create_task(run(pool, job, 0.0)) for _ in range(2)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert pool.status == "starting"
        pool.close()
        return await asyncio.gather(*waiting, return_exceptions=True)

    found = asyncio.run(asyncio.wait_for(run_two(), 10.0))
    assert [type(error) for error in found] == [OutOfTime, PoolStopped]
    assert [worker.process_id for worker in pool.workers] == [None]


def test_a_process_that_ended_while_it_was_idle_does_not_blame_the_video(pool: WorkerPool, job: Job) -> None:
    process = pool.workers[0].process_id
    assert process is not None
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: process not in [child.pid for child in multiprocessing.active_children()])
    assert isinstance(asyncio.run(run(pool, job)), Done)
    assert pool.num_replaced == 1
    assert pool.workers[0].process_id not in (process, None)


def test_a_process_that_ends_before_every_job_is_not_available(
    worker: WorkerProcess, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: Connection, value: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Connection, "send", refuse)
    with pytest.raises(WorkerUnavailable, match="ended before it took a video"):
        worker.run(job, SECONDS)
    assert worker.num_replaced == 2


def test_a_request_that_is_cancelled_drops_its_waiting_job(
    pool: WorkerPool, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    process = pool.workers[0].process_id
    assert process is not None
    os.kill(process, signal.SIGSTOP)

    async def cancel_two() -> list[object]:
        tasks = [asyncio.create_task(run(pool, job)) for _ in range(2)]
        await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        pool.close()
        await asyncio.sleep(0.2)
        return list(found)

    assert [type(error) for error in asyncio.run(cancel_two())] == 2 * [asyncio.CancelledError]
    gc.collect()
    assert caplog.text == ""  # no exception of the process's end that nothing awaited


def test_an_idle_process_that_ends_is_replaced_before_the_next_job(pool: WorkerPool) -> None:
    (worker,) = pool.workers
    before = worker.process_id
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: worker.is_ready and worker.process_id not in (None, before))
    assert pool.num_replaced == 1


def test_a_pool_that_stops_finishes_the_job_in_work_and_refuses_others(
    pool: WorkerPool, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, has_begun = threading.Event(), threading.Event()

    def work(worker: WorkerProcess, job: Job, seconds: float) -> Done:
        has_begun.set()
        assert may_end.wait(SECONDS)
        return Done({})

    async def stop() -> None:
        working = asyncio.create_task(run(pool, job))
        await asyncio.to_thread(has_begun.wait, SECONDS)
        waiting = asyncio.create_task(run(pool, job))
        await asyncio.sleep(0)  # so that it waits
        pool.refuse_waiting()
        with pytest.raises(PoolStopped):
            await waiting
        with pytest.raises(PoolStopped):
            await run(pool, job)
        may_end.set()
        assert await working == Done({})

    monkeypatch.setattr(WorkerProcess, "run", work)
    asyncio.run(stop())
