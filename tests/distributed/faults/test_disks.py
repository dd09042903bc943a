"""Runs whose disk is full or read-only; with real processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slowfast.checkpoint.storage import verify
from tests.support.cluster.nodes import Run, wait_until
from tests.support.run_results import assert_same_end

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


@contextmanager
def small_disk(folder: Path, size: str, *, read_only: bool = False) -> Iterator[None]:
    """A disk in memory, mounted at ``folder``."""
    folder.mkdir()
    options = f"size={size}" + (",ro" if read_only else "")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_error_and_keeps_earlier_checkpoints(colour_videos: Path, tmp_path: Path) -> None:
    run, unbroken = (
        Run(colour_videos, tmp_path / "disk" / "out", 1),
        Run(colour_videos, tmp_path / "whole", 1),
    )
    batch = ("TRAIN.BATCH_SIZE", 4, "TRAIN.EVAL_PERIOD", 3)
    with small_disk(tmp_path / "disk", "1m"):
        (node,) = run.start(*batch, SLOW=0.2)
        first = run.output / "checkpoints" / "checkpoint_epoch_00001.pyth"
        wait_until(first.exists)
        ballast = tmp_path / "disk" / "ballast"
        with pytest.raises(OSError, match="No space left"), ballast.open("wb") as file:
            file.write(bytes(1 << 20))
        assert node.wait(120) == 1
        assert "the disk is full" in node.printed
        assert "earlier checkpoints are intact" in node.printed
        assert "Traceback" not in node.printed
        verify(first)
        assert not list(first.parent.glob(".*writing*"))
        ballast.unlink()
        (node,) = run.start(*batch)
        assert node.wait(120) == 0, node.printed
        (node,) = unbroken.start(*batch)
        assert node.wait(120) == 0
        assert_same_end(unbroken.output, run.output)


def test_a_read_only_folder_is_refused_before_any_work(colour_videos: Path, tmp_path: Path) -> None:
    run = Run(colour_videos, tmp_path / "ok", 1)
    with small_disk(tmp_path / "disk", "1m", read_only=True):
        (node,) = run.start("TRAIN.BATCH_SIZE", 4, "OUTPUT_DIR", str(tmp_path / "disk" / "out"))
        assert node.wait(60) == 2
    assert "OUTPUT_DIR" in node.printed
    assert "cannot be written to; choose another folder" in node.printed
    assert "Traceback" not in node.printed
