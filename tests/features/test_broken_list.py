"""The list of videos without features belongs to all extractions into a cache."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from slowfast.features.broken_list import BrokenEntry, find_failure, update_broken
from tests.support.processes import run_all


def entry(name: str, reason: str = "missing") -> BrokenEntry:
    return BrokenEntry(f"/data/{name}", reason, "", name)


def listed(folder: Path) -> list[str]:
    """Returns the names in the list; empty where it does not exist."""
    path = folder / "broken.json"
    return sorted(video["name"] for video in json.loads(path.read_text())) if path.exists() else []


def add(folder: Path, names: Sequence[str]) -> int:
    for name in names:
        update_broken(folder, [entry(name)], [name])
    return 0


def test_extractions_at_the_same_time_keep_each_others_entries(tmp_path: Path) -> None:
    names = [[f"{process}-{i}.mp4" for i in range(20)] for process in range(2)]
    assert run_all(add, [(tmp_path, own) for own in names]) == [0, 0]
    assert listed(tmp_path) == sorted(names[0] + names[1])
    assert [path.name for path in tmp_path.iterdir()] == ["broken.json"]


def test_entries_of_handled_videos_are_replaced_and_those_of_others_stay(tmp_path: Path) -> None:
    """As when the test split is extracted after the training split."""
    update_broken(tmp_path, [entry("train/a.mp4"), entry("train/b.mp4")], [])
    update_broken(tmp_path, [entry("test/c.mp4")], ["test/c.mp4", "test/d.mp4"])
    assert listed(tmp_path) == ["test/c.mp4", "train/a.mp4", "train/b.mp4"]
    update_broken(tmp_path, [entry("train/b.mp4", "corrupt")], ["train/a.mp4", "train/b.mp4"])
    assert listed(tmp_path) == ["test/c.mp4", "train/b.mp4"]
    assert find_failure(tmp_path, "train/b.mp4") == ("corrupt", "found by the extraction")
    assert find_failure(tmp_path, "train/a.mp4")[0] == "no features"
    update_broken(tmp_path, [], ["train/b.mp4", "test/c.mp4"])
    assert [*tmp_path.iterdir()] == []


def test_a_cache_that_was_lost_during_training_is_not_one_without_the_video(tmp_path: Path) -> None:
    """`slowfast extract` would compute all features again, while the disk is only not mounted."""
    reason, detail = find_failure(tmp_path / "lost", "a.mp4")
    assert reason == "no features"
    assert detail.endswith("lost cannot be reached; mount its disk again, or extract the features")
    assert "has none of it" in find_failure(tmp_path, "a.mp4")[1]


def test_a_cache_that_must_not_be_reached_any_more_is_a_reason_and_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)
    assert "cannot be reached" in find_failure(tmp_path, "a.mp4")[1]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[1]", '[{"name": 1}]', '{"path": "a"}', "[" * 200_000),
        '[{"path": "a", "reason": "missing", "detail": "", "name": ["a"]}]',
    ],
)
def test_a_damaged_list_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.json").write_text(content)
    assert find_failure(tmp_path, "a.mp4")[0] == "no features"
    update_broken(tmp_path, [entry("a.mp4")], ["a.mp4"])
    assert listed(tmp_path) == ["a.mp4"]


def test_a_list_is_parsed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set looks up each of its broken videos."""
    names = [f"{i}.mp4" for i in range(50)]
    update_broken(tmp_path, [entry(name) for name in names], [])
    parse, parsed = json.loads, list[str]()

    def loads(text: str) -> object:
        parsed.append(text)
        return parse(text)

    with monkeypatch.context() as counting:
        counting.setattr("slowfast.features.broken_list.json.loads", loads)
        assert {find_failure(tmp_path, name)[0] for name in names} == {"missing"}
    assert len(parsed) == 1
    update_broken(tmp_path, [entry("0.mp4", "corrupt")], ["0.mp4"])
    assert find_failure(tmp_path, "0.mp4")[0] == "corrupt"
