"""Groups and folds: no group is divided, classes are in proportion, a test list shares no group."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.errors import DataError
from slowfast.probe.folds import check_disjoint, group_folds, stratified_subset


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=30, max_size=80), st.integers(2, 4))
def test_no_group_is_divided_and_every_fold_has_videos(videos: list[tuple[int, int]], folds: int) -> None:
    labels = [label for label, _ in videos] + [0, 1, 2] * 10
    groups = [f"g{group}" for _, group in videos] + [f"h{n}" for n in range(30)]
    parts = group_folds(labels, groups, folds)
    assert set(parts) == set(range(folds))
    for group in set(groups):
        assert len({part for part, own in zip(parts, groups, strict=True) if own == group}) == 1


def test_the_classes_of_single_videos_are_divided_equally() -> None:
    labels = [0] * 50 + [1] * 20
    parts = group_folds(labels, [str(n) for n in range(70)], 5)
    for fold in range(5):
        assert np.bincount(np.array(labels)[parts == fold]).tolist() == [10, 4]


def test_a_class_of_two_groups_is_in_two_folds() -> None:
    """Equal fractions alone would put the two small groups, which have all of class 0, into one fold."""
    labels, groups = [1] * 6 + [0] * 3, ["large"] * 5 + ["mixed"] * 2 + ["small"] * 2
    parts = group_folds(labels, groups, 2)
    for label in (0, 1):
        assert set(parts[np.array(labels) == label]) == {0, 1}


def test_three_groups_that_share_a_class_each_are_divided() -> None:
    """Two of the groups must share a fold, and so one of the classes is in a single fold."""
    parts = group_folds([0, 1, 1, 2, 2, 0], ["a", "a", "b", "b", "c", "c"], 2)
    assert set(parts) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "message"),
    [
        ([0, 0, 0, 0], "abab", 3, "--folds 3: must be at most the number of groups, which is 2; use fewer"),
        ([0, 0, 1, 1], "abbb", 2, "class 1: must have videos of 2 groups or more"),
    ],
)
def test_videos_that_cannot_be_divided_are_refused(
    labels: list[int], groups: str, folds: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        group_folds(labels, [*groups], folds)


def test_a_test_list_with_groups_of_training_is_refused_by_name() -> None:
    check_disjoint(["a", "b"], ["c"])
    message = "the test list shares 2 groups with training: a (1), b (2)"
    with pytest.raises(DataError, match=re.escape(message)):
        check_disjoint(["a", "b", "d"], ["a", "b", "b", "c"])


def test_a_subset_without_a_group_is_refused() -> None:
    """All groups are larger than twice the number of videos, so that each goes to the other part."""
    message = "--limit 9: must be larger, since groups are kept together and the smallest has 20 videos"
    with pytest.raises(DataError, match=message):
        stratified_subset(["0", "1"] * 30, ["a", "b", "c"] * 20, 9)


def test_a_subset_has_whole_groups_and_all_classes() -> None:
    labels = ["0"] * 60 + ["1"] * 30
    groups = [str(n // 3) for n in range(90)]
    chosen = stratified_subset(labels, groups, 30)
    assert 27 <= len(chosen) <= 33
    assert {groups[video] for video in chosen}.isdisjoint(
        {groups[video] for video in range(90) if video not in chosen}
    )
    assert [labels[video] for video in chosen].count("1") in range(6, 13)
    assert stratified_subset(labels, groups, 100) == list(range(90))
