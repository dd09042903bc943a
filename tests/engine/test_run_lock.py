"""The output folder of a run: its lock belongs to one run and ends with its process; all nodes share it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from slowfast.distributed.world import World
from slowfast.engine import run_lock
from slowfast.engine.run_lock import FolderInUseError, check_shared, lock_folder
from slowfast.errors import ConfigError
from slowfast.files import write_text
from tests.support.processes import run_ranks


def test_a_second_run_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "new"):
        refused = pytest.raises(FolderInUseError, match=rf"process {os.getpid()} on .* another OUTPUT_DIR")
        with refused, lock_folder(tmp_path / "new"):
            pass
    with lock_folder(tmp_path / "new"):
        pass


def test_a_worker_that_survives_a_killed_run_does_not_keep_the_lock(tmp_path: Path) -> None:
    pid_file = tmp_path / "worker.pid"
    run = os.fork()
    if run == 0:
        with lock_folder(tmp_path / "run"):
            worker = os.fork()
            if worker == 0:
                write_text(pid_file, str(os.getpid()))  # after all that a fork does in the new process
                time.sleep(60)
                os._exit(0)
            while not pid_file.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(run, 0)
    worker = int(pid_file.read_text())
    try:
        with lock_folder(tmp_path / "run"):
            assert psutil.pid_exists(worker)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_folder_that_the_nodes_do_not_share_is_refused_on_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OUTPUT_DIR is a relative path, and the nodes have different working directories."""
    monkeypatch.setattr(run_lock, "SHARING_SECONDS", 0.0)
    assert run_ranks(_check, 3, [tmp_path, tmp_path, tmp_path]) == [0, 0, 0]
    assert not list((tmp_path / "out").iterdir())
    assert run_ranks(_check, 3, [tmp_path, tmp_path, tmp_path / "local"]) == [3, 3, 3]


def _check(world: World, places: list[Path]) -> int:
    place = places[world.rank]
    (place / "out").mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    try:
        check_shared("out", world)
    except ConfigError as error:
        return 3 if f"are not in that of rank 2: {places[2]}/out on" in str(error) else 1
    return 0
