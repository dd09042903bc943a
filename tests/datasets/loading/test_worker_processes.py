"""Loader workers leave no processes and files behind, and leave the garbage of the main process alone."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from slowfast.datasets.loading.worker_process import worker_context
from tests.support.loading.stand_in import VIDEOS, do_nothing, stand_in_dataset, stand_in_loader


@pytest.mark.parametrize("how", ["deleted", "killed"])
def test_no_worker_outlives_its_loader(how: str) -> None:
    def run_a_loader() -> None:
        batches = stand_in_loader(stand_in_dataset(do_nothing, training=False), training=False, workers=2)
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


def test_killed_workers_leave_no_temporary_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers pass tensors through the folder of the main process, which removes it when it ends."""
    folder = tmp_path_factory.mktemp("t")  # the path of a socket has at most 108 bytes
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    batches = stand_in_loader(stand_in_dataset(do_nothing, training=False), training=False, workers=2)
    assert sum(batch.num_clips for batch in batches) == VIDEOS
    del batches
    assert list(folder.iterdir()) == [Path(multiprocessing.util.get_temp_dir())]


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
        stand_in_loader(
            stand_in_dataset(_collect_garbage_beside_threads, training=False), training=False, workers=1
        )
    )
    assert [batch.broken for batch in batches if batch.broken] == []
    assert sum(batch.num_clips for batch in batches) == VIDEOS


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not fork workers")
@pytest.mark.parametrize(
    ("method", "expected"), [("fork", "fork"), ("forkserver", "fork"), ("spawn", "spawn")]
)
def test_workers_are_forked_unless_spawn_is_set(method: str, expected: str) -> None:
    """``forkserver`` is the default of Python 3.14, which nobody has chosen."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        assert worker_context().get_start_method() == expected
    finally:
        multiprocessing.set_start_method(before, force=True)
