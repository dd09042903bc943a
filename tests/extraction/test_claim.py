"""Extractions that are started into one folder: what they write, and which are refused."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from slowfast.distributed.world import World
from slowfast.errors import ConfigError
from slowfast.extraction.claim import claim_folder
from slowfast.features.cache import Manifest, Variant, features_path
from slowfast.files import TEMPORARY_MARK, atomic_write
from tests.support.processes import run_forked

SMALL, LARGE = Variant(32, 24), Variant(64, 56)
WANTED = Manifest({"weights": "a"}, 4, "float16", 0.0, (0.5,) * 3, (0.25,) * 3, "RGB", (SMALL,), {})
OTHER = replace(WANTED, source={"weights": "b"})


def claimed(folder: Path, wanted: Manifest) -> Manifest:
    with claim_folder(folder, World(), wanted) as manifest:
        return manifest


def be_killed_while_extracting(folder: Path) -> int:
    with claim_folder(folder, World(), WANTED):
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_a_folder_without_features_can_get_other_ones(tmp_path: Path) -> None:
    assert claimed(tmp_path / "cache", WANTED) == WANTED
    assert claimed(tmp_path / "cache", OTHER) == OTHER
    assert Manifest.read(tmp_path / "cache") == OTHER


def test_other_features_are_refused_while_an_extraction_runs(tmp_path: Path) -> None:
    """Also before its first video is complete: its files would be read as those of the other model."""
    with (
        claim_folder(tmp_path, World(), WANTED),
        pytest.raises(ConfigError, match="is being filled with other features: weights: the cache has a"),
    ):
        claimed(tmp_path, OTHER)
    assert Manifest.read(tmp_path) == WANTED


def test_other_features_are_refused_where_videos_are_complete(tmp_path: Path) -> None:
    claimed(tmp_path, WANTED)
    path = features_path(tmp_path, SMALL, "a.mp4")
    path.parent.mkdir()
    path.touch()
    with pytest.raises(ConfigError, match="holds other features: weights: the cache has a"):
        claimed(tmp_path, OTHER)


def test_files_that_a_killed_extraction_has_not_finished_are_not_features(tmp_path: Path) -> None:
    claimed(tmp_path, WANTED)
    folder = features_path(tmp_path, SMALL, "a.mp4").parent
    folder.mkdir()
    (folder / "a.mp4.part.npy").touch()
    writer = atomic_write(folder / "a.mp4.part.npy")
    writer.__enter__().touch()
    assert claimed(tmp_path, OTHER) == OTHER


def test_temporary_files_of_killed_extractions_are_deleted_at_the_next_start(tmp_path: Path) -> None:
    """Unless another extraction runs, whose files they may be."""
    folder = features_path(tmp_path, SMALL, "sub/a.mp4").parent
    folder.mkdir(parents=True)
    leftovers = [path / f".a.mp4{TEMPORARY_MARK}1-0.json" for path in (tmp_path, folder.parent, folder)]
    for leftover in leftovers:
        leftover.touch()
    assert run_forked(be_killed_while_extracting, tmp_path) == -signal.SIGKILL
    with claim_folder(tmp_path, World(), WANTED):
        assert not any(leftover.exists() for leftover in leftovers)
        leftovers[1].touch()
        claimed(tmp_path, WANTED)
        assert leftovers[1].exists()
    claimed(tmp_path, WANTED)
    assert leftovers[1].exists(), (
        "a folder without a killed extraction is not searched, since it may be large"
    )


def test_extractions_of_other_variants_run_together(tmp_path: Path) -> None:
    """As those of two splits: the manifest then has the variants of both."""
    with (
        claim_folder(tmp_path, World(), WANTED),
        claim_folder(tmp_path, World(), replace(WANTED, variants=(LARGE,))) as both,
    ):
        assert both.variants == (SMALL, LARGE)
        assert Manifest.read(tmp_path) == both


def test_nothing_but_the_manifest_remains(tmp_path: Path) -> None:
    with claim_folder(tmp_path, World(), WANTED):
        assert len([*tmp_path.iterdir()]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_killed_extraction_does_not_count_as_running(tmp_path: Path) -> None:
    assert run_forked(be_killed_while_extracting, tmp_path) == -signal.SIGKILL
    assert claimed(tmp_path, OTHER) == OTHER
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
