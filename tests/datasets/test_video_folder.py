"""Videos below a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slowfast.datasets.readers import READERS, AnnotationSource
from slowfast.datasets.video_folder import find_videos, scan_classes
from slowfast.errors import AnnotationError
from tests.support.reading.data_sets import lay_out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder ``in`` with ``a/1.mp4``, beside ``out`` with ``2.mp4``."""
    return lay_out(tmp_path, {"in/a/1.mp4": "", "out/2.mp4": ""}) / "in"


def test_linked_folders_are_walked_each_time(folder: Path) -> None:
    (folder / "b").symlink_to("a")
    (folder / "a/far").symlink_to(folder.parent / "out")
    assert find_videos(str(folder)) == ["a/1.mp4", "a/far/2.mp4", "b/1.mp4", "b/far/2.mp4"]


@pytest.mark.parametrize("target", [".", "..", "../a"])
def test_a_link_to_a_folder_above_it_is_not_followed(folder: Path, target: str) -> None:
    (folder / "a/loop").symlink_to(target)
    assert find_videos(str(folder)) == ["a/1.mp4"]


def test_a_link_above_the_start_is_followed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a/up").symlink_to("../..")
    monkeypatch.chdir(folder)
    for start in (os.curdir, str(folder), f"{folder}{os.sep}"):
        assert find_videos(start) == ["a/1.mp4", "a/up/out/2.mp4"]


def fail_below(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes each folder of this name unreadable, as a network file system does for a moment."""
    scan: Callable = os.scandir

    def scan_or_fail(path: str) -> object:
        if str(path).endswith(f"{os.sep}{name}"):  # pytest, which deletes the folder, gives a file descriptor
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_or_fail)


def test_a_folder_that_cannot_be_read_is_not_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a/locked").mkdir()
    fail_below(monkeypatch, "locked")
    message = r"a/locked: cannot be read \(Stale file handle\); check its permissions"
    with pytest.raises(AnnotationError, match=message):
        find_videos(str(folder))
    folder.rename(folder.with_name("train"))
    with pytest.raises(AnnotationError, match=message):
        READERS["videofolder"](AnnotationSource(str(folder.parent), "train", 1))


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="gone: cannot be read"):
        find_videos(str(tmp_path / "gone"))
    with pytest.raises(AnnotationError, match="gone: cannot be read"):
        scan_classes(str(tmp_path / "gone"), [])


def test_the_folder_of_recovered_files_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can read ``lost+found``, at the root of each disk."""
    (folder / "lost+found").mkdir()
    fail_below(monkeypatch, "lost+found")
    assert find_videos(str(folder)) == ["a/1.mp4"]
