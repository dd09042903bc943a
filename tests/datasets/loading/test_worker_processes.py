"""Loader workers leave no processes and files behind, and leave the garbage of the main process alone."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist

from slowfast.datasets.loading.worker_process import worker_context
from slowfast.errors import DataError
from tests.support.loading.stand_in import VIDEOS, do_nothing, stand_in_loader
from tests.support.processes import run_forked


@pytest.mark.parametrize("how", ["deleted", "killed"])
def test_no_worker_outlives_its_loader(how: str) -> None:
    def run_a_loader() -> None:
        batches = stand_in_loader(do_nothing, workers=2)
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

    def load() -> int:
        batches = stand_in_loader(do_nothing, workers=2)
        count = sum(batch.num_clips for batch in batches)
        del batches
        return 0 if (count, len(list(folder.iterdir()))) == (VIDEOS, 1) else 1

    assert run_forked(load) == 0
    assert list(folder.iterdir()) == []


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
    batches = list(stand_in_loader(_collect_garbage_beside_threads, workers=1))
    assert [batch.broken for batch in batches if batch.broken] == []
    assert sum(batch.num_clips for batch in batches) == VIDEOS


@pytest.fixture
def start_method() -> Iterator[Callable[[str], None]]:
    """Returns a function that sets how processes start during the test."""
    before = multiprocessing.get_start_method(allow_none=True)
    yield lambda method: multiprocessing.set_start_method(method, force=True)
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not fork workers")
@pytest.mark.parametrize(
    ("method", "expected"), [("fork", "fork"), ("forkserver", "fork"), ("spawn", "spawn")]
)
def test_workers_are_forked_unless_spawn_is_set(
    method: str, expected: str, start_method: Callable[[str], None]
) -> None:
    """``forkserver`` is the default of Python 3.14, which the user has not chosen."""
    start_method(method)
    assert worker_context().get_start_method() == expected


class _InterruptedStart:
    """A function that does nothing; Ctrl-C reaches the process that unpickles it."""

    def __call__(self) -> None: ...

    def __reduce__(self) -> Any:
        return _interrupt_start, ()


def _interrupt_start() -> _InterruptedStart:
    os.kill(os.getpid(), signal.SIGINT)
    return _InterruptedStart()


def test_ctrl_c_does_not_end_workers_that_are_starting(start_method: Callable[[str], None]) -> None:
    """The main process stops at a safe point, and may need batches until then."""
    start_method("spawn")
    batches = list(stand_in_loader(_InterruptedStart(), workers=1))
    assert sum(batch.num_clips for batch in batches) == VIDEOS


def test_a_data_set_that_cannot_be_sent_to_a_spawned_worker_is_an_error_with_a_remedy(
    start_method: Callable[[str], None],
) -> None:
    start_method("spawn")
    with pytest.raises(DataError, match=r"lambda.*at the top level of a module, or set DATA_LOADER\.NUM_WO"):
        list(stand_in_loader(lambda: None, workers=1))


_SCRIPT = """
import multiprocessing
multiprocessing.set_start_method("spawn", force=True)
from tests.support.loading.stand_in import do_nothing, stand_in_loader
print(len(list(stand_in_loader(do_nothing, workers=2))))
"""


def _run_script(file: Path, text: str) -> subprocess.CompletedProcess[str]:
    file.write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, file], capture_output=True, text=True, env=environment, check=False
    )


def test_a_script_that_each_worker_would_run_is_told_how_to_prevent_it(tmp_path: Path) -> None:
    """Such scripts work on Linux alone."""
    done = _run_script(tmp_path / "script.py", _SCRIPT)
    assert done.stderr.count("Traceback") == 1
    assert "UsageError: the main script starts processes" in done.stderr.splitlines()[-1]
    assert 'under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


_OWN_PROCESS = """
import multiprocessing
{start}
from tests.support.loading.stand_in import do_nothing, stand_in_loader
print(len(list(stand_in_loader(do_nothing, workers=1))))
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=do_nothing, name="own process")
    process.start()
    process.join()
    print("ended with", process.exitcode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not fork workers")
def test_a_process_of_the_user_forks_workers_while_it_imports_the_script(tmp_path: Path) -> None:
    done = _run_script(tmp_path / "script.py", _OWN_PROCESS.format(start=""))
    assert done.stdout.splitlines()[-1] == "ended with 0", done.stderr


def test_a_process_of_the_user_that_cannot_start_workers_says_why(tmp_path: Path) -> None:
    own_start = 'if __name__ == "__mp_main__": multiprocessing.set_start_method("spawn", force=True)'
    done = _run_script(tmp_path / "script.py", _OWN_PROCESS.format(start=own_start))
    assert done.stdout.splitlines()[-1] == "ended with 78"
    assert done.stderr.startswith("own process: the main script starts processes")
    assert done.stderr.count("\n") == 1
