"""Groups of videos: from a column of the list, and from a regular expression on the paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.datasets.groups import groups_by_pattern
from slowfast.datasets.readers.path_label import read_csv
from slowfast.errors import AnnotationError, DataError

PATHS = ["x/person1_001.mp4", "x/person1_002.mp4", "x/person2_001.mp4"]


@pytest.mark.parametrize("name", ["group", "source", "person", "subject"])
@pytest.mark.parametrize("separator", [" ", ","])
def test_a_list_names_the_group_of_each_video(tmp_path: Path, name: str, separator: str) -> None:
    rows = [
        ("path", "label", name),
        ("a.mp4", "0", "first"),
        ("b.mp4", "1", "second"),
        ("c.mp4", "1", "first"),
    ]
    path = tmp_path / "train.csv"
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    annotations = read_csv(str(path), num_classes=2, separator=separator)
    assert list(annotations.groups) == ["first", "second", "first"]
    assert annotations.labels().tolist() == [0, 1, 1]
    assert list(annotations.paths) == ["a.mp4", "b.mp4", "c.mp4"]


def test_groups_stand_beside_segments_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("path,group,start,label,end\na.mp4,p 1,0.5,1,2\nb.mp4,p 2,1,0,3\n")
    annotations = read_csv(str(path), num_classes=2, separator=",")
    assert list(annotations.groups) == ["p 1", "p 2"]
    assert annotations.segment(1) == (1.0, 3.0)


@pytest.mark.parametrize("quote", ["", '"'])
def test_groups_are_those_of_the_list_that_was_read(tmp_path: Path, quote: str) -> None:
    """A test takes hours, and the list may be edited or deleted in the meantime."""
    path = tmp_path / "train.csv"
    path.write_text(f"path,group,label\na.mp4,{quote}x{quote},0\nb.mp4,y,1\n")
    annotations = read_csv(str(path), num_classes=2, separator=",")
    path.write_text("path,group,label\nb.mp4,y,1\n")
    assert list(annotations.groups) == ["x", "y"]
    path.unlink()
    assert list(annotations.groups) == ["x", "y"]
    assert list(annotations.paths) == ["a.mp4", "b.mp4"]


def test_a_list_without_the_column_has_no_groups(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path label\na.mp4 0\n")
    assert read_csv(str(tmp_path / "train.csv"), num_classes=1).groups is None


def test_a_video_without_its_group_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label,group\na.mp4,0,\n")
    with pytest.raises(AnnotationError, match="line 2"):
        read_csv(str(tmp_path / "train.csv"), num_classes=1, separator=",")


def test_a_pattern_captures_the_group() -> None:
    assert groups_by_pattern(PATHS, r"(person\d+)_") == ["person1", "person1", "person2"]
    assert groups_by_pattern(PATHS, r"person\d+") == ["person1", "person1", "person2"]
    assert groups_by_pattern(PATHS, "") == PATHS


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"TEST\.GROUP_BY \(: must be a regular expression"),
        ("z", "TEST.GROUP_BY z: must match every path, and does not match x/person1_001.mp4"),
        ("x/(z)?", "must match every path, and does not match x/person1_001.mp4"),
    ],
)
def test_a_pattern_that_is_wrong_or_matches_nothing_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        groups_by_pattern(PATHS, pattern, name="TEST.GROUP_BY")
