"""Folds of a cross-validation: whole groups, all classes, each video tested once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.cli.prepare import main
from slowfast.errors import DataError, UsageError
from slowfast.preparation.folds import make_folds
from tests.support.preparation.command import prepare


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 11)), min_size=30, max_size=80),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_folds_test_each_video_once_and_divide_no_group(
    videos: list[tuple[str, int]], num_folds: int, seed: int
) -> None:
    videos += [("ab"[group % 2], group) for group in range(12)]  # at least twelve groups
    labels, groups = [label for label, _ in videos], [str(group) for _, group in videos]
    folds = make_folds(labels, groups, num_folds, val_fraction=0.3, seed=seed)
    assert sorted(video for fold in folds for video in fold.test) == list(range(len(videos)))
    for fold in folds:
        assert sorted((*fold.train, *fold.val, *fold.test)) == list(range(len(videos)))
        parts = [{groups[video] for video in part} for part in fold.parts.values()]
        assert sum(map(len, parts)) == len(set().union(*parts))


def test_folds_have_equal_parts_of_each_class() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    folds = make_folds(labels, [str(i) for i in range(100)], 5, val_fraction=0.25, seed=0)
    for fold in folds:
        assert Counter(labels[video] for video in fold.test) == {"a": 12, "b": 6, "c": 2}
        assert Counter(labels[video] for video in fold.val) == {"a": 12, "b": 6, "c": 2}


def test_one_group_is_left_out_at_a_time() -> None:
    groups = ["y", "x", "x", "z", "w", "w"]
    folds = make_folds(list("ababab"), groups, 0, val_fraction=0.4, seed=0)
    assert [{groups[video] for video in fold.test} for fold in folds] == [{"w"}, {"x"}, {"y"}, {"z"}]


@pytest.mark.parametrize(
    ("num_folds", "val_fraction", "message"),
    [
        (4, 0.3, "--folds 4: must be at most the number of groups, which is 3"),
        (3, 0.01, "--val-fraction 0.01"),
    ],
)
def test_too_few_groups_are_refused(num_folds: int, val_fraction: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_folds(list("aabbcc"), list("xxyyzz"), num_folds, val_fraction=val_fraction, seed=0)


def test_a_single_group_leaves_no_video_to_train_on() -> None:
    with pytest.raises(DataError, match="fold 0 has 0 videos to train on and 2 to test"):
        make_folds(list("ab"), list("xx"), 0, val_fraction=None, seed=0)


def test_the_default_validates_with_a_group_where_the_fraction_is_less_than_one() -> None:
    labels = list("aaaaabbbbc")
    for fold in make_folds(labels, [str(i) for i in range(10)], 3, val_fraction=None, seed=0):
        assert len(fold.val) == 1
        assert {labels[video] for video in fold.train} >= {labels[video] for video in fold.val}
    for fold in make_folds(labels * 10, [str(i) for i in range(100)], 5, val_fraction=None, seed=0):
        assert len(fold.val) == 12  # 15 % of 80


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of 24 videos of 8 persons."""
    lines = [f"p{video % 8}_{video}.mp4 {video // 8 % 2} p{video % 8}" for video in range(24)]
    (tmp_path / "all.csv").write_text("path label person\n" + "\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("by", [[], ["--group-by", "column"], ["--group-by", r"(p\d)_"]])
def test_the_command_writes_the_lists_of_each_fold(listed: Path, by: list[str]) -> None:
    options = ("--folds", "4", "--val-fraction", "0.3", *by)
    report = prepare("split", listed / "all.csv", listed / "folds", *options)
    assert [fold["test"] for fold in report["folds"]] == [6] * 4
    assert sorted(group for groups in report["test_groups"] for group in groups) == [
        f"p{i}" for i in range(8)
    ]
    tested: list[str] = []
    for fold in range(4):
        lists = {
            name: (listed / "folds" / f"fold_{fold}" / f"{name}.csv").read_text().splitlines()
            for name in ("train", "val", "test")
        }
        assert {lines[0] for lines in lists.values()} == {"path label person"}
        persons = [{line.split()[2] for line in lines[1:]} for lines in lists.values()]
        assert sum(map(len, persons)) == len(set().union(*persons)) == 8
        tested += lists["test"][1:]
    assert sorted(tested) == sorted((listed / "all.csv").read_text().splitlines()[1:])


def test_folds_of_an_earlier_division_are_refused(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["split", str(listed / "all.csv"), str(listed / "folds"), "--val-fraction", "0.3"]
    assert main([*base, "--leave-one-group-out"]) == 0
    assert (listed / "folds" / "fold_7" / "test.csv").is_file()
    assert main([*base, "--folds", "4"]) == 1
    assert "fold_4: is of a division into more folds; delete it" in capsys.readouterr().err


def test_more_folds_than_anybody_trains_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without groups each video would be a fold: hours of work for unused lists."""
    listed = tmp_path / "all.csv"
    listed.write_text("".join(f"{i}.mp4 {i % 2}\n" for i in range(1001)))
    assert main(["split", str(listed), str(tmp_path / "folds"), "--leave-one-group-out"]) == 2
    error = capsys.readouterr().err
    assert "1001 folds, each of which is a training of its own: must be at most 1000" in error
    assert "name the groups in a column of the list, or by --group-by" in error
