"""Atomic writing: a file is either the old one or the new one, never incomplete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from filelock import FileLock

from slowfast.files import (
    atomic_write,
    delete_unfinished,
    hold_lock,
    parse_json,
    read_json_object,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="full"):
        write_half_and_fail(path)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    """Members of a group can continue a file that one of them writes with a stricter umask."""
    path = tmp_path / "manifest.json"
    write_text(path, "old")
    path.chmod(0o664)
    before = os.umask(0o077)
    try:
        write_text(path, "new")
        write_text(tmp_path / "other.json", "new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o664
    assert (tmp_path / "other.json").stat().st_mode & 0o777 == 0o600


def test_a_file_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    write_text(path, os.fsdecode(b"caf\xe9.mp4") + " 1\n")
    assert path.read_bytes() == b"caf\xe9.mp4 1\n"


@pytest.mark.parametrize("name", ["a" * 251 + ".txt", "é" * 125 + ".json"])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write_text(tmp_path / f"b{name[1:]}", "other")
    assert (tmp_path / name).read_text() == "new"


def test_processes_of_one_number_write_different_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers and nodes that share a folder number their processes alike."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "a.txt"
    with atomic_write(path) as one, atomic_write(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert [left.name for left in tmp_path.iterdir()] == ["a.txt"]


def write_half_and_fail(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("disk full")


def test_the_temporary_file_of_a_killed_process_is_deleted(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "complete")
    writer = atomic_write(tmp_path / "a.txt")
    writer.__enter__().write_text("half")
    delete_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("exists", [False, True])
def test_the_target_of_a_link_is_written(exists: bool, tmp_path: Path) -> None:
    target, link = tmp_path / "disk" / "a.txt", tmp_path / "a.txt"
    if exists:
        write_text(target, "old")
    link.symlink_to(Path("disk", "a.txt"))
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_pipe_or_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """Under root, ``--json /dev/stdout`` replaced the device by a file, for all programs of the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize(
    ("error", "has_file", "is_logged"),
    [
        (OSError(errno.EROFS, "Read-only file system"), False, False),
        (OSError(errno.EACCES, "Permission denied"), False, False),
        (OSError(errno.EACCES, "Permission denied"), True, True),  # the lock of another user
        (OSError(errno.ENOLCK, "No locks available"), False, True),
        (NotImplementedError("no flock"), False, True),
    ],
)
def test_a_lock_that_cannot_be_had_is_logged_where_files_can_be_written(
    error: Exception, has_file: bool, is_logged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """On a read-only disk the first write says what matters; the lock only comes before it."""

    def acquire(lock: FileLock) -> None:
        if has_file:
            Path(lock.lock_file).touch()
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with hold_lock(tmp_path / "a.lock", 0):
        pass
    assert ("cannot be locked" in caplog.text) == is_logged


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_json_is_nested_at_most_100_levels(start: str, end: str) -> None:
    """From 3.12 on, Python reads thousands of levels, at which code that follows them fails."""
    assert parse_json(f"{start * 100}1{end * 100}") is not None
    for levels in (101, 700, 5_000, 100_000):
        with pytest.raises(ValueError, match="nested more than 100 levels"):
            parse_json(f"{start * levels}1{end * levels}")


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": [1]}', {"a": [1]}), ("[1]", {}), ("{", {}), ("[" * 100_000, {}), (b"\xff", {}), (None, {})],
)
def test_only_an_object_in_a_json_file_is_read(
    tmp_path: Path, text: str | bytes | None, value: dict[str, object]
) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert read_json_object(path) == value
