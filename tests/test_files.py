"""Files are the old ones or the new ones, never halves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slowfast.files import atomic_write, delete_unfinished, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="full"):
        write_half_and_fail(path)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_name_that_is_no_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    write_text(path, os.fsdecode(b"caf\xe9.mp4") + " 1\n")
    assert path.read_bytes() == b"caf\xe9.mp4 1\n"


def write_half_and_fail(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("disk full")


def test_what_a_killed_process_left_is_deleted(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "whole")
    writer = atomic_write(tmp_path / "a.txt")
    writer.__enter__().write_text("half")
    delete_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
