"""Videos below a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slowfast.datasets.video_folder import find_videos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder ``in`` with ``a/1.mp4``, beside ``out`` with ``2.mp4``."""
    for name in ("in/a/1.mp4", "out/2.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path / "in"


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
