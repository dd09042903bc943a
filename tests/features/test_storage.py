"""Feature files are ordinary arrays at every moment, and are continued only where descriptions agree."""

from __future__ import annotations

import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from slowfast.errors import DataError
from slowfast.features.storage import FeatureFile

DESCRIPTION = {"video": {"name": "a.mp4", "bytes": 7}, "fps": 5.0}


def rows(first: int, end: int) -> torch.Tensor:
    """Returns features (end − first, 4) whose values contain the number of the frame."""
    return torch.arange(first, end)[:, None] + torch.arange(4) / 10


def write(path: Path, *chunks: torch.Tensor) -> None:
    with FeatureFile(path, (4,), DESCRIPTION) as file:
        for chunk in chunks:
            file.append(chunk)


def test_the_file_is_an_ordinary_array_after_each_chunk(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.npy"
    with FeatureFile(path, (4,), DESCRIPTION) as file:
        assert file.features().shape == (0, 4)
        file.append(rows(0, 3))
        np.testing.assert_array_equal(np.load(path), rows(0, 3))
        file.append(rows(3, 1000).to(torch.float64))
        np.testing.assert_array_equal(np.load(path, mmap_mode="r"), rows(0, 1000))
        assert torch.equal(file.features(), rows(0, 1000))


def test_existing_rows_are_kept_and_appended_to(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    with FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION) as file:
        assert file.count == 3
        file.append(rows(3, 5))
        assert torch.equal(file.features(), rows(0, 5))


def test_rows_of_another_description_are_replaced_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    with (
        caplog.at_level(logging.WARNING),
        FeatureFile(tmp_path / "a.npy", (4,), {**DESCRIPTION, "fps": 1.0}) as file,
    ):
        assert file.count == 0
        file.append(rows(7, 9))
    assert "fps was 5.0 and is 1.0" in caplog.text
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(7, 9))


@pytest.mark.parametrize("beside", [None, '{"video": ', "[1, 2]", '{"title": "holiday"}'])
def test_an_array_of_another_program_is_not_replaced(tmp_path: Path, beside: str | None) -> None:
    path = tmp_path / "mine.npy"
    np.save(path, rows(0, 3))
    if beside is not None:
        path.with_suffix(".json").write_text(beside)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(DataError, match=r"mine\.npy was not written by this program; choose another path"):
        FeatureFile(path, (4,), DESCRIPTION)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_json_file_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"title": "holiday"}')
    with pytest.raises(DataError, match=r"mine\.json was not written by this program; choose another path"):
        FeatureFile(tmp_path / "mine.npy", (4,), DESCRIPTION)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]


def test_a_mapped_array_stays_valid_when_its_file_is_replaced(tmp_path: Path) -> None:
    """A truncated file would kill the process that reads its mapped pages.

    The rows here fill less than one page, so that a truncated file shows in the values instead.
    """
    path = tmp_path / "a.npy"
    with FeatureFile(path, (4,), DESCRIPTION) as file:
        file.append(rows(0, 30))
        earlier = file.features()
    with FeatureFile(path, (4,), {**DESCRIPTION, "fps": 1.0}) as file:
        file.append(rows(7, 9))
        with pytest.raises(DataError, match="another process"):
            FeatureFile(path, (4,), DESCRIPTION)
    assert torch.equal(earlier, rows(0, 30))
    np.testing.assert_array_equal(np.load(path), rows(7, 9))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.npy"]


def test_a_link_to_another_disk_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.npy").symlink_to(tmp_path / "disk" / "a.npy")
    write(tmp_path / "a.npy", rows(0, 3))
    with FeatureFile(tmp_path / "a.npy", (4,), {**DESCRIPTION, "fps": 1.0}) as file:
        file.append(rows(7, 9))
    assert (tmp_path / "a.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "disk" / "a.npy"), rows(7, 9))


def test_many_threads_that_open_one_file_write_one_after_another(tmp_path: Path) -> None:
    """Each lock file is deleted while it is held, so that the next thread locks another file."""
    path, opened, refused, writing = tmp_path / "a.npy", [], [], threading.Lock()

    def append_rows() -> None:
        for _ in range(20):
            try:
                with FeatureFile(path, (4,), DESCRIPTION) as file:
                    assert writing.acquire(blocking=False), "another thread has the file open"
                    file.append(rows(file.count, file.count + 1))
                    opened.append(file.count)
                    writing.release()
            except DataError:
                refused.append(path)

    threads = [threading.Thread(target=append_rows) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) + len(refused) == 80
    assert opened == list(range(1, len(opened) + 1))
    np.testing.assert_array_equal(np.load(path), rows(0, len(opened)))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.npy"]


def test_the_lock_file_of_a_killed_process_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / "a.npy.lock").touch()
    write(tmp_path / "a.npy", rows(0, 3))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.npy"]


def test_names_that_differ_after_a_dot_are_two_files(tmp_path: Path) -> None:
    write(tmp_path / "video.fps1", rows(0, 2))
    write(tmp_path / "video.fps5", rows(0, 3))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["video.fps1.json", "video.fps1.npy", "video.fps5.json", "video.fps5.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "video.fps1.npy"), rows(0, 2))


def test_a_crash_during_the_final_renaming_loses_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, final = tmp_path / "a.part.npy", tmp_path / "a.npy"
    write(part, rows(0, 3))
    replace = os.replace

    def crash_at_the_array(source: Any, target: Any) -> None:
        if Path(target) == final:
            raise KeyboardInterrupt
        replace(source, target)

    with FeatureFile(part, (4,), DESCRIPTION) as file, monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash_at_the_array)
        with pytest.raises(KeyboardInterrupt):
            file.finish(final, DESCRIPTION)
    with FeatureFile(part, (4,), DESCRIPTION) as file:
        assert file.count == 3
        file.finish(final, DESCRIPTION)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.npy"]
    np.testing.assert_array_equal(np.load(final), rows(0, 3))


@pytest.mark.parametrize("lost", [0, 1, 16, 17, 47, 48])
def test_a_power_cut_loses_only_rows_that_are_not_on_the_disk(tmp_path: Path, lost: int) -> None:
    """Bytes after the counted rows are overwritten; lost rows are written again."""
    path = tmp_path / "a.npy"
    write(path, rows(0, 3))
    with path.open("ab") as file:
        file.write(b"half of a row")
    os.truncate(path, path.stat().st_size - len(b"half of a row") - lost)
    with FeatureFile(path, (4,), DESCRIPTION) as again:
        assert again.count == (48 - lost) // 16
        again.append(rows(again.count, 6))
    np.testing.assert_array_equal(np.load(path), rows(0, 6))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"no array at all" * 100, b"\x93NUMPY\x01\x00\x76\x00{'descr': (" + b" " * 200],
)
def test_a_damaged_file_of_this_program_is_replaced(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    (tmp_path / "a.npy").write_bytes(content)
    write(tmp_path / "a.npy", rows(0, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(0, 2))


def test_an_empty_file_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    write(tmp_path / "a.npy", rows(0, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(0, 2))


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION),
        pytest.raises(DataError, match="another process"),
    ):
        FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION)
    write(tmp_path / "a.npy")


@pytest.mark.parametrize("error", [NotImplementedError("flock"), OSError(errno.ENOLCK, "No locks available")])
def test_features_are_written_on_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """One warning per folder says that nothing keeps a second process away."""

    def acquire(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with caplog.at_level(logging.WARNING):
        for name in "ab":
            write(tmp_path / f"{name}.npy", rows(0, 3))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(0, 3))
    (line,) = [line for line in caplog.messages if str(tmp_path) in line]
    assert line.endswith("start one process there at a time")


def test_features_of_a_replaced_video_never_stand_beside_those_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between description and array, the next call would take the old features for the new ones."""
    final, other = tmp_path / "a.npy", {**DESCRIPTION, "fps": 1.0}
    with FeatureFile(tmp_path / "a.part.npy", (4,), DESCRIPTION) as file:
        file.append(rows(0, 3))
        file.finish(final, DESCRIPTION)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with FeatureFile(tmp_path / "a.part.npy", (4,), other) as file, monkeypatch.context() as patch:
        file.append(rows(5, 8))
        patch.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            file.finish(final, other)
    assert not final.exists()


def test_the_lock_is_released_where_closing_fails(tmp_path: Path) -> None:
    """A full disk fails again when the buffered rows are written at the end."""

    class Full:
        def close(self) -> None:
            raise OSError("full")

    file = FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION)
    file._file.close()
    file._file = Full()  # type: ignore[assignment]
    with pytest.raises(OSError, match="full"):
        file.__exit__(None, None, None)
    with FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION) as again:
        assert again.count == 0


@pytest.mark.parametrize("durable", [True, False])
def test_rows_are_flushed_to_the_disk_where_they_are_to_last(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION, durable=durable) as file:
        opened = len(flushed)
        file.keep(0)
        assert len(flushed) == opened  # nothing was dropped
        file.append(rows(0, 3))
    assert len(flushed) - opened == (2 if durable else 0)
    with FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION, durable=durable) as file:
        assert torch.equal(file.features(), rows(0, 3))


def test_rows_that_were_dropped_are_replaced_by_the_next_ones(tmp_path: Path) -> None:
    with FeatureFile(tmp_path / "a.npy", (4,), DESCRIPTION) as file:
        file.append(rows(0, 3))
        file.keep(1)
        file.append(rows(5, 7))
        assert torch.equal(file.features(), torch.cat([rows(0, 1), rows(5, 7)]))
