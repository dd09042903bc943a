"""The data of the test are checked before a training, so that their errors do not end it hours later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slowfast.engine.run import run
from slowfast.errors import AnnotationError, ConfigError, DataError, SlowFastError
from tests.support.tiny import tiny_config


@pytest.fixture
def lists(colour_videos: Path, tmp_path: Path) -> Path:
    """Lists whose test list a test may change."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for split in ("train", "val", "test"):
        (folder / f"{split}.csv").write_text((colour_videos / f"{split}.csv").read_text())
    return folder


def refusal_of(lists: Path, output: Path, error: type[SlowFastError], *changes: Any) -> str:
    """Returns the message of a run, and of a dry run, that ends before its first step."""
    cfg = tiny_config(lists, output, *changes)
    with pytest.raises(error) as dry:
        run(cfg, dry_run=True)
    with pytest.raises(error) as caught:
        run(cfg)
    assert not (output / "metrics.jsonl").exists()
    assert str(dry.value) == str(caught.value)
    assert "TEST.ENABLE False" in str(caught.value)
    return str(caught.value)


def test_an_unknown_data_set_of_the_test_is_refused_before_the_training(lists: Path, tmp_path: Path) -> None:
    message = refusal_of(lists, tmp_path / "out", ConfigError, "TEST.DATASET", "kinetic")
    assert "TEST.DATASET = 'kinetic': must be a registered data set; did you mean kinetics" in message


def test_a_missing_test_list_is_refused_before_the_training(lists: Path, tmp_path: Path) -> None:
    (lists / "test.csv").unlink()
    assert "test.csv" in refusal_of(lists, tmp_path / "out", AnnotationError)


def test_missing_test_videos_are_refused_before_the_training(lists: Path, tmp_path: Path) -> None:
    (lists / "test.csv").write_text("absent.mp4 0\n")
    assert "'absent.mp4'" in refusal_of(lists, tmp_path / "out", DataError)


def test_groups_that_a_path_lacks_are_refused_before_the_training(lists: Path, tmp_path: Path) -> None:
    message = refusal_of(lists, tmp_path / "out", DataError, "TEST.GROUP_BY", "person_[0-9]+")
    assert "TEST.GROUP_BY person_[0-9]+: must match every path" in message


def test_a_training_without_a_test_does_not_need_its_data(lists: Path, tmp_path: Path) -> None:
    (lists / "test.csv").unlink()
    changes = ("TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 1)
    assert run(tiny_config(lists, tmp_path / "out", *changes)) == 0
