"""Loader workers that hang or die: the video is reported as broken and the run continues."""

from __future__ import annotations

import gc
import multiprocessing.util
import os
import re
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from slowfast.datasets.annotations import Annotations, PathTable
from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.loading import workers
from slowfast.datasets.loading.loader import ClipLoader, collate
from slowfast.datasets.loading.samplers import EvalSampler, TrainSampler
from slowfast.datasets.loading.workers import WorkerPool
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.errors import DataError, DecodeError
from tests.support.processes import run_forked

VIDEOS = 12
BAD = 5  # the video at which something happens


class StandIn:
    """A reader of videos whose paths are numbers; it calls ``at_bad`` when it reads the bad one.

    Attributes:
        num_bad_reads: calls of ``at_bad`` in all processes.
    """

    def __init__(self, at_bad: Callable[[], None]) -> None:
        self._at_bad = at_bad
        self.num_bad_reads = torch.zeros(1, dtype=torch.int64).share_memory_()

    def read(self, path: str, *_: object) -> tuple[Tensor, Tensor]:
        if int(path) == BAD:
            self.num_bad_reads += 1
            self._at_bad()
        rng = _[2]
        assert isinstance(rng, np.random.Generator)
        noise = torch.from_numpy(rng.integers(0, 256, (3, 2, 4, 4), np.uint8))
        return noise, torch.arange(2) + int(path)


def dataset(at_bad: Callable[[], None], *, training: bool) -> VideoDataset:
    labels = torch.arange(VIDEOS, dtype=torch.int32)
    annotations = Annotations(PathTable.from_strings([str(i) for i in range(VIDEOS)]), labels, None, VIDEOS)
    return VideoDataset(annotations, StandIn(at_bad), substitute=training, seed=3)


def loader(data: VideoDataset, *, training: bool, workers: int) -> ClipLoader:
    sampler = TrainSampler(VIDEOS, 2, seed=3) if training else EvalSampler(VIDEOS, 1, 2)
    return ClipLoader(data, sampler, num_workers=workers, sample_timeout=0.6)


def hang() -> None:
    time.sleep(1000)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise DecodeError(str(BAD), "corrupt")


def do_nothing() -> None:
    """Makes the bad video a sound one."""


def assert_same(some: list[ClipBatch], others: list[ClipBatch]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert one.video_id.tolist() == other.video_id.tolist()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("at_bad", "reason"), [(hang, "hung"), (die, "killed its worker")])
def test_training_continues_with_the_substitute_of_any_broken_video(
    at_bad: Callable[[], None], reason: str, workers: int
) -> None:
    """The substitute is a function of epoch and index; in the next epoch the video is not read again."""
    data = dataset(at_bad, training=True)
    reader = data.reader
    assert isinstance(reader, StandIn)
    survivor = loader(data, training=True, workers=workers)
    reference = loader(dataset(refuse, training=True), training=True, workers=0)
    for epoch in range(2):
        survivor.batch_sampler.set_position(epoch, 0)  # type: ignore[union-attr]
        reference.batch_sampler.set_position(epoch, 0)  # type: ignore[union-attr]
        reads_before = int(reader.num_bad_reads)
        batches = list(survivor)
        assert_same(batches, list(reference))
        broken = [video for batch in batches for video in batch.broken]
        assert {(video.path, video.reason) for video in broken} == {(str(BAD), reason)}
    assert reads_before > 0
    assert int(reader.num_bad_reads) == reads_before


@pytest.mark.parametrize(("at_bad", "reason"), [(hang, "hung"), (die, "killed its worker")])
def test_evaluation_lists_the_video_and_scores_all_others(at_bad: Callable[[], None], reason: str) -> None:
    batches = list(loader(dataset(at_bad, training=False), training=False, workers=2))
    videos = [i for batch in batches for i in batch.video_id.tolist()]
    assert videos == [i for i in range(VIDEOS) if i != BAD]
    assert [(v.video_id, v.reason) for batch in batches for v in batch.broken] == [(BAD, reason)]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_killed_from_outside_changes_nothing(signum: int, tmp_path: Path) -> None:
    def die_once() -> None:
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signum)

    batches = list(loader(dataset(die_once, training=True), training=True, workers=2))
    assert_same(batches, list(loader(dataset(do_nothing, training=True), training=True, workers=0)))
    assert not any(batch.broken for batch in batches)


@pytest.mark.parametrize("at_bad", [hang, die])
def test_a_file_is_tried_as_often_as_one_video(at_bad: Callable[[], None]) -> None:
    """A list of segments has several rows per file, and each of them would cost a timeout."""
    times = {hang: 1, die: 2}
    data = dataset(at_bad, training=False)
    paths = [str(BAD) if i in (2, 3, BAD) else str(100 + i) for i in range(VIDEOS)]
    data._annotations = replace(data._annotations, paths=PathTable.from_strings(paths))
    batches = list(loader(data, training=False, workers=1))
    assert [video.video_id for batch in batches for video in batch.broken] == [2, 3, BAD]
    assert sum(batch.num_clips for batch in batches) == VIDEOS - 3
    assert isinstance(data.reader, StandIn)
    assert int(data.reader.num_bad_reads) == times[at_bad]


def test_a_slow_main_process_bans_no_video() -> None:
    """Only the time spent waiting for a batch counts, not that of a slow step or a suspended run."""

    def read_slowly() -> None:
        time.sleep(1.0)

    data = dataset(read_slowly, training=False)
    batches = iter(loader(data, training=False, workers=1))
    next(batches)
    time.sleep(1.5)  # meanwhile the bad video, two batches ahead, is read
    assert sum(len(batch.broken) for batch in batches) == 0


def test_an_iteration_left_early_leaves_no_batches_to_the_next() -> None:
    rounds = loader(dataset(do_nothing, training=False), training=False, workers=2)
    left = iter(rounds)
    next(left)
    assert [i for batch in rounds for i in batch.video_id.tolist()] == list(range(VIDEOS))
    with pytest.raises(RuntimeError, match="iterated again"):
        next(left)


def test_an_exception_of_the_data_set_is_raised_with_the_workers_traceback() -> None:
    def divide() -> None:
        print(1 / 0)

    with pytest.raises(ZeroDivisionError) as caught:
        list(loader(dataset(divide, training=True), training=True, workers=1))
    assert "in divide" in caught.value.__notes__[0]


class NamedError(Exception):
    """An exception of a user, of which no copy can be made: it has one argument, and its maker two."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}, line {line}")


def test_an_exception_that_cannot_be_copied_keeps_its_text_and_traceback() -> None:
    def refuse() -> None:
        raise NamedError("labels.json", 7)

    with pytest.raises(RuntimeError, match=r"NamedError: labels\.json, line 7") as caught:
        list(loader(dataset(refuse, training=True), training=True, workers=1))
    assert "in refuse" in caught.value.__notes__[0]


def _allow_no_more_files() -> None:
    """Limits the files of this process to those that are open."""
    free = os.dup(0)  # the lowest number of a file that is not open
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_too_few_open_files_for_the_main_process() -> None:
    def run_out() -> int:
        batches = iter(loader(dataset(do_nothing, training=False), training=False, workers=1))
        next(batches)
        _allow_no_more_files()
        try:
            list(batches)
        except DataError as error:
            return 5 if re.match("a batch cannot pass .*`ulimit -n 65536`", str(error)) else 1
        return 1

    assert run_forked(run_out) == 5


def test_too_few_open_files_for_a_worker() -> None:
    pool = WorkerPool(dataset(_allow_no_more_files, training=False), collate, num_workers=1, sample_timeout=1)
    with pytest.raises(DataError, match="too many files are open; allow more before the start"):
        list(pool.run([[BAD]]))


class FullMemory:
    """A batch that does not fit into the shared memory."""

    def __reduce__(self) -> str:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </a>: No space left on device (28)"
        )


def test_a_full_shared_memory() -> None:
    pool = WorkerPool(
        dataset(do_nothing, training=False), lambda _: FullMemory(), num_workers=1, sample_timeout=1
    )
    with pytest.raises(DataError, match=r"the shared memory in /dev/shm is full; enlarge it .*--shm-size"):
        list(pool.run([[0]]))


def _die_collating(items: list[object]) -> object:
    os._exit(3)


def test_workers_that_die_before_reading_end_the_run_with_a_remedy() -> None:
    data = dataset(do_nothing, training=False)
    pool = WorkerPool(data, _die_collating, num_workers=1, sample_timeout=0)
    with pytest.raises(DataError, match=r"ended with status 3.*NUM_WORKERS or the batch size lower"):
        list(pool.run([[0], [1]]))


def test_a_worker_that_stops_between_two_videos_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_MIN_IDLE_SECONDS", 1.5)
    rounds = loader(dataset(do_nothing, training=False), training=False, workers=1)
    assert len(list(rounds)) == VIDEOS // 2
    assert rounds._pool is not None
    os.kill(rounds._pool._workers[0].process.pid or 0, signal.SIGSTOP)
    with caplog.at_level("WARNING", logger="slowfast"):
        batches = list(rounds)
    assert [i for batch in batches for i in batch.video_id.tolist()] == list(range(VIDEOS))
    assert not any(batch.broken for batch in batches)
    message = "worker 0 has neither read a video nor sent a batch for 1.8 s; it is restarted"
    assert caplog.messages == [message]


def _stop_collating(items: list[object]) -> object:
    time.sleep(1000)
    return items


def test_workers_that_stop_again_and_again_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_MIN_IDLE_SECONDS", 0.5)
    pool = WorkerPool(dataset(do_nothing, training=False), _stop_collating, num_workers=1, sample_timeout=0.2)
    with pytest.raises(DataError, match=r"has neither read a video nor sent a batch for 0\.6 s"):
        list(pool.run([[0]]))


def test_a_worker_without_work_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_MIN_IDLE_SECONDS", 0.6)
    monkeypatch.setattr(workers, "_IDLE_TIMEOUTS", 0)

    def read_slowly() -> None:
        time.sleep(2.0)

    pool = WorkerPool(dataset(read_slowly, training=False), collate, num_workers=2, sample_timeout=30)
    batches = [batch.video_id.tolist() for batch in pool.run([[BAD], [0]])]
    assert batches == [[BAD], [0]]
    assert caplog.messages == []


@pytest.mark.parametrize("how", ["deleted", "killed"])
def test_no_worker_outlives_its_loader(how: str) -> None:
    def run_a_loader() -> None:
        batches = loader(dataset(do_nothing, training=False), training=False, workers=2)
        left = iter(batches)
        next(left)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        del left, batches

    if how == "deleted":
        before = set(psutil.Process().children())
        run_a_loader()
        assert set(psutil.Process().children()) <= before
        return
    context = torch.multiprocessing.get_context("fork")
    process = context.Process(target=run_a_loader)
    process.start()
    group = psutil.Process(process.pid)
    workers: list[psutil.Process] = []
    while process.is_alive():
        workers = group.children() or workers
        time.sleep(0.002)
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []


def test_killed_workers_leave_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers pass tensors through the folder of the main process, which removes it when it ends."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    batches = loader(dataset(do_nothing, training=False), training=False, workers=2)
    assert sum(batch.num_clips for batch in batches) == VIDEOS
    del batches
    assert list(tmp_path.iterdir()) == [Path(multiprocessing.util.get_temp_dir())]


def _collect_garbage_beside_threads() -> None:
    """Collects garbage beside new threads, which take the places of those of the main process."""
    for _ in range(6):
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    gc.collect()


@pytest.fixture
def garbage_with_a_thread() -> Iterator[None]:
    """Garbage of the main process that is not collected yet and owns a thread."""
    gc.disable()
    knot: list[object] = [dist.TCPStore("localhost", 0, None, True, wait_for_workers=False)]
    knot.append(knot)
    del knot
    yield
    gc.enable()
    gc.collect()


@pytest.mark.usefixtures("garbage_with_a_thread")
def test_a_worker_leaves_the_garbage_of_the_main_process_alone() -> None:
    batches = list(
        loader(dataset(_collect_garbage_beside_threads, training=False), training=False, workers=1)
    )
    assert [batch.broken for batch in batches if batch.broken] == []
    assert sum(batch.num_clips for batch in batches) == VIDEOS


def test_a_batch_of_broken_videos_only() -> None:
    def refuse_all() -> None:
        raise DecodeError("all", "corrupt")

    data = dataset(refuse_all, training=False)
    pool = WorkerPool(data, collate, num_workers=1, sample_timeout=1)
    (batch,) = pool.run([[BAD]])
    assert len(batch.frames) == 0
    assert len(batch.broken) == 1
