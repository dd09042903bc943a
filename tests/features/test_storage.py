"""Features on the disk: an ordinary array at every moment, taken over only where they are the same."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.errors import DataError
from slowfast.features.storage import FeatureFile

WHAT = {"video": {"name": "a.mp4", "bytes": 7}, "fps": 5.0}


def rows(first: int, end: int) -> torch.Tensor:
    """Features (end − first, 4) that tell their frames."""
    return torch.arange(first, end)[:, None] + torch.arange(4) / 10


def write(path: Path, *parts: torch.Tensor) -> None:
    with FeatureFile(path, 4, WHAT) as file:
        for part in parts:
            file.append(part)


def test_is_an_ordinary_array_after_each_part(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.npy"
    with FeatureFile(path, 4, WHAT) as file:
        assert file.features().shape == (0, 4)
        file.append(rows(0, 3))
        np.testing.assert_array_equal(np.load(path), rows(0, 3))
        file.append(rows(3, 1000).to(torch.float64))
        np.testing.assert_array_equal(np.load(path, mmap_mode="r"), rows(0, 1000))
        assert torch.equal(file.features(), rows(0, 1000))


def test_what_is_there_is_gone_on_with(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    with FeatureFile(tmp_path / "a.npy", 4, WHAT) as file:
        assert file.count == 3
        file.append(rows(3, 5))
        assert torch.equal(file.features(), rows(0, 5))


def test_another_description_begins_anew_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    with (
        caplog.at_level(logging.WARNING),
        FeatureFile(tmp_path / "a.npy", 4, {**WHAT, "fps": 1.0}) as file,
    ):
        assert file.count == 0
        file.append(rows(7, 9))
    assert "fps was 5.0 and is 1.0" in caplog.text
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(7, 9))


@pytest.mark.parametrize("beside", [None, '{"video": ', "[1, 2]", '{"title": "film"}'])
def test_an_array_of_others_is_left_alone(tmp_path: Path, beside: str | None) -> None:
    path = tmp_path / "mine.npy"
    np.save(path, rows(0, 3))
    if beside is not None:
        path.with_suffix(".json").write_text(beside)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(DataError, match=r"mine\.npy was not written by this program; choose another path"):
        FeatureFile(path, 4, WHAT)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_json_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"title": "film"}')
    with pytest.raises(DataError, match=r"mine\.json was not written by this program; choose another path"):
        FeatureFile(tmp_path / "mine.npy", 4, WHAT)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]


def test_what_an_earlier_result_maps_stays_when_the_file_is_made_anew(tmp_path: Path) -> None:
    """Cut to nothing, its pages would be gone under the one who reads them, and the process with them.

    Here the rows fill less than a page, so that a cut shows in values and does not kill the tests.
    """
    path = tmp_path / "a.npy"
    with FeatureFile(path, 4, WHAT) as file:
        file.append(rows(0, 30))
        earlier = file.features()
    with FeatureFile(path, 4, {**WHAT, "fps": 1.0}) as file:
        file.append(rows(7, 9))
        with pytest.raises(DataError, match="another process"):
            FeatureFile(path, 4, WHAT)
    assert torch.equal(earlier, rows(0, 30))
    np.testing.assert_array_equal(np.load(path), rows(7, 9))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.npy"]


def test_a_link_to_another_disk_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.npy").symlink_to(tmp_path / "disk" / "a.npy")
    write(tmp_path / "a.npy", rows(0, 3))
    with FeatureFile(tmp_path / "a.npy", 4, {**WHAT, "fps": 1.0}) as file:
        file.append(rows(7, 9))
    assert (tmp_path / "a.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "disk" / "a.npy"), rows(7, 9))


def test_many_threads_that_open_one_file_write_one_after_another(tmp_path: Path) -> None:
    """Each lock file is deleted while it is held, so that the next thread locks another file."""
    path, opened, refused, writing = tmp_path / "a.npy", [], [], threading.Lock()

    def append_rows() -> None:
        for _ in range(20):
            try:
                with FeatureFile(path, 4, WHAT) as file:
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


def test_names_that_differ_behind_a_dot_are_two_files(tmp_path: Path) -> None:
    write(tmp_path / "film.fps1", rows(0, 2))
    write(tmp_path / "film.fps5", rows(0, 3))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["film.fps1.json", "film.fps1.npy", "film.fps5.json", "film.fps5.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "film.fps1.npy"), rows(0, 2))


def test_a_crash_while_the_final_name_is_given_costs_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, final = tmp_path / "a.part.npy", tmp_path / "a.npy"
    write(part, rows(0, 3))
    replace = os.replace

    def crash_at_the_array(source: Any, target: Any) -> None:
        if Path(target) == final:
            raise KeyboardInterrupt
        replace(source, target)

    with FeatureFile(part, 4, WHAT) as file, monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash_at_the_array)
        with pytest.raises(KeyboardInterrupt):
            file.finish(final)
    with FeatureFile(part, 4, WHAT) as file:
        assert file.count == 3
        file.finish(final)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.npy"]
    np.testing.assert_array_equal(np.load(final), rows(0, 3))


@pytest.mark.parametrize("lost", [0, 1, 16, 17, 47, 48])
def test_a_power_cut_costs_the_rows_that_were_not_counted(tmp_path: Path, lost: int) -> None:
    """Bytes beyond what the header counts are written over; rows that the disk lost are made again."""
    path = tmp_path / "a.npy"
    write(path, rows(0, 3))
    with path.open("ab") as file:
        file.write(b"half of a row")
    os.truncate(path, path.stat().st_size - len(b"half of a row") - lost)
    with FeatureFile(path, 4, WHAT) as again:
        assert again.count == (48 - lost) // 16
        again.append(rows(again.count, 6))
    np.testing.assert_array_equal(np.load(path), rows(0, 6))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array at all" * 100])
def test_what_is_left_of_ours_is_made_anew(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    (tmp_path / "a.npy").write_bytes(content)
    write(tmp_path / "a.npy", rows(0, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(0, 2))


def test_an_empty_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    write(tmp_path / "a.npy", rows(0, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(0, 2))


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        FeatureFile(tmp_path / "a.npy", 4, WHAT),
        pytest.raises(DataError, match="another process"),
    ):
        FeatureFile(tmp_path / "a.npy", 4, WHAT)
    write(tmp_path / "a.npy")
