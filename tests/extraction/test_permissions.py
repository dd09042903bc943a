"""Caches in folders of other users, who may not write to them or not read them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from slowfast.datasets.build import build_dataset
from slowfast.errors import DataError
from slowfast.extraction import cached_video
from slowfast.features.cache import Manifest


def not_permitted(path: object) -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_a_cache_that_must_not_be_written_to_is_not_taken_for_broken_videos(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise not_permitted(path.resolve())  # as locks are named, also in a relative folder

    monkeypatch.setattr(cached_video, "FeatureFile", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"cannot be written: .*Permission denied.*change the permissions"):
        make("DATA.FEATURES", "cache")
    assert not (tmp_path / "cache/broken.json").exists(), "the videos would be broken for all users"


def test_a_complete_cache_on_a_disk_that_can_only_be_read_stays_as_it_is(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    plain = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return plain(path, flags, *arguments, **options)

    def refuse_text(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)  # of locks
    monkeypatch.setattr(Path, "write_text", refuse_text)
    make()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == files
    with pytest.raises(DataError, match=r"cannot be written \(Read-only file system\); choose another"):
        make("DATA.TEST_CROP_SIZE", 24)


def test_features_that_must_not_be_read_are_reported(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = make()
    stat = os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).endswith(".npy"):
            raise not_permitted(path)
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    for split in ("train", "test"):
        with pytest.raises(DataError, match=r"none of the first videos.*Permission denied"):
            build_dataset(cfg, split)


def test_a_manifest_that_must_not_be_read_is_not_extracted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: object) -> str:
        raise not_permitted(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read \(Permission denied\); change its"):
        Manifest.read(tmp_path)
