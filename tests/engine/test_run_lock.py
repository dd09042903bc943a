"""The lock of an output folder: it belongs to one run, and ends with the process of the run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from slowfast.engine.run_lock import FolderInUseError, lock_folder


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
                time.sleep(60)
                os._exit(0)
            pid_file.write_text(str(worker))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(run, 0)
    worker = int(pid_file.read_text())
    try:
        with lock_folder(tmp_path / "run"):
            assert psutil.pid_exists(worker)
    finally:
        os.kill(worker, signal.SIGKILL)
