"""Loader workers that hang or die: the video is reported as broken and the run continues."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slowfast.datasets.annotations import PathTable
from slowfast.datasets.loading import workers
from slowfast.datasets.loading.loader import collate
from slowfast.datasets.loading.workers import WorkerPool
from slowfast.errors import DecodeError
from tests.support.loading.stand_in import (
    BAD,
    VIDEOS,
    assert_same,
    die,
    do_nothing,
    hang,
    loader_of,
    refuse,
    stand_in_dataset,
    stand_in_loader,
)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("at_bad", "reason"), [(hang, "hung"), (die, "killed its worker")])
def test_training_continues_with_the_substitute_of_any_broken_video(
    at_bad: Callable[[], None], reason: str, workers: int
) -> None:
    """The substitute is a function of epoch and index; in the next epoch the video is not read again."""
    data = stand_in_dataset(at_bad, training=True)
    reader = data.reader
    survivor = loader_of(data, workers=workers)
    reference = stand_in_loader(refuse, workers=0, training=True)
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
    batches = list(stand_in_loader(at_bad, workers=2))
    videos = [i for batch in batches for i in batch.video_id.tolist()]
    assert videos == [i for i in range(VIDEOS) if i != BAD]
    assert [(v.video_id, v.reason) for batch in batches for v in batch.broken] == [(BAD, reason)]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_killed_from_outside_changes_nothing(signum: int, tmp_path: Path) -> None:
    def die_once() -> None:
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signum)

    batches = list(stand_in_loader(die_once, workers=2, training=True))
    assert_same(batches, list(stand_in_loader(do_nothing, workers=0, training=True)))
    assert not any(batch.broken for batch in batches)


@pytest.mark.parametrize("at_bad", [hang, die])
def test_a_file_is_tried_as_often_as_one_video(at_bad: Callable[[], None]) -> None:
    """A list of segments has several rows per file, and each of them would cost a timeout."""
    times = {hang: 1, die: 2}
    data = stand_in_dataset(at_bad)
    data.paths = PathTable.from_strings(
        [str(BAD) if i in (2, 3, BAD) else str(100 + i) for i in range(VIDEOS)]
    )
    batches = list(loader_of(data, workers=1))
    assert [video.video_id for batch in batches for video in batch.broken] == [2, 3, BAD]
    assert sum(batch.num_clips for batch in batches) == VIDEOS - 3
    assert int(data.reader.num_bad_reads) == times[at_bad]


def test_a_slow_main_process_bans_no_video() -> None:
    """Only the time spent waiting for a batch counts, not that of a slow step or a suspended run."""

    def read_slowly() -> None:
        time.sleep(1.0)

    batches = iter(stand_in_loader(read_slowly, workers=1))
    next(batches)
    time.sleep(1.5)  # meanwhile the bad video, two batches ahead, is read
    assert sum(len(batch.broken) for batch in batches) == 0


def test_an_iteration_left_early_leaves_no_batches_to_the_next() -> None:
    rounds = stand_in_loader(do_nothing, workers=2)
    left = iter(rounds)
    next(left)
    assert [i for batch in rounds for i in batch.video_id.tolist()] == list(range(VIDEOS))
    with pytest.raises(RuntimeError, match="iterated again"):
        next(left)


def test_a_worker_that_stops_between_two_videos_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_MIN_IDLE_SECONDS", 1.5)
    rounds = stand_in_loader(do_nothing, workers=1)
    assert len(list(rounds)) == VIDEOS // 2
    os.kill(rounds._pool._workers[0].process.pid or 0, signal.SIGSTOP)
    with caplog.at_level("WARNING", logger="slowfast"):
        batches = list(rounds)
    assert [i for batch in batches for i in batch.video_id.tolist()] == list(range(VIDEOS))
    assert not any(batch.broken for batch in batches)
    message = "worker 0 has neither read a video nor sent a batch for 1.8 s; it is restarted"
    assert caplog.messages == [message]


def test_a_worker_without_work_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_MIN_IDLE_SECONDS", 0.6)
    monkeypatch.setattr(workers, "_IDLE_TIMEOUTS", 0)

    def read_slowly() -> None:
        time.sleep(2.0)

    pool = WorkerPool(stand_in_dataset(read_slowly), collate, num_workers=2, sample_timeout=30)
    batches = [batch.video_id.tolist() for (batch,) in pool.run([[BAD], [0]])]
    assert batches == [[BAD], [0]]
    assert caplog.messages == []


def test_a_batch_of_broken_videos_alone_lists_them() -> None:
    def refuse_all() -> None:
        raise DecodeError("all", "corrupt")

    data = stand_in_dataset(refuse_all)
    pool = WorkerPool(data, collate, num_workers=1, sample_timeout=1)
    ((batch,),) = pool.run([[BAD]])
    assert len(batch.frames) == 0
    assert len(batch.broken) == 1
