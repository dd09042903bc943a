"""Lists read by NumPy: the rows equal those of the grammar, line by line, for clean and other lines."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers import path_label
from slowfast.datasets.readers.clean_lines import NotCleanError
from slowfast.datasets.readers.path_label import read_csv
from slowfast.datasets.video_list import ListRow, read_list
from slowfast.errors import AnnotationError

NUM_CLASSES = 20
HEADERS = {
    (): [],
    ("path", "label"): [],
    ("path", "label", "start", "end"): ["start", "end"],
    ("path", "end", "label", "start"): ["start", "end"],
    ("path", "total_frames", "label"): ["total_frames"],
    ("path", "group", "label"): ["group"],
    ("path", "start", "end", "label", "group"): ["start", "end", "group"],
}

names = st.text(st.sampled_from('ab/.01 ,;\t"|ü\u00a0\u3000é%#'), min_size=1, max_size=8).map(
    lambda t: t + ".mp4"
)
group_names = st.one_of(st.sampled_from("abc"), st.text("a1/._é '", min_size=1, max_size=5))
clean_labels = st.lists(st.integers(0, NUM_CLASSES - 1), min_size=1, max_size=3)
clean_times = st.one_of(st.integers(0, 50), st.floats(0, 50, allow_subnormal=False)).map(repr)
dirty = st.sampled_from(
    ["", "x", "1.0", "-1", "99", '"3"', "3,", "٣", "1e1", "nan", "inf", "1_0", "+1", " 3"]
)
paddings = st.sampled_from(["", "", "", "", "", " ", "\t", "  "])


@st.composite
def lists(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A list as text, its separator, and whether videos have several labels; most lines are clean."""
    separator = draw(st.sampled_from(" ,;\t|"))
    multi_label = draw(st.booleans())
    columns = draw(st.sampled_from(list(HEADERS)))
    joint = ";" if separator == "," else ","
    is_clean = draw(st.booleans())
    lines = [separator.join(columns)] if columns else []
    for _ in range(draw(st.integers(0, 8))):
        label = joint.join(map(str, draw(clean_labels)[: 3 if multi_label else 1]))
        start, end = draw(clean_times), draw(clean_times)
        if float(start) > float(end):
            start, end = end, start
        times = {"start": start, "end": end, "total_frames": "31"}
        cells = {"path": draw(names), "label": label, "group": draw(group_names), **times}
        row = [cells[column] for column in columns or ("path", "label")]
        if not is_clean and draw(st.integers(0, 3)) == 0:
            row[draw(st.integers(0, len(row) - 1))] = draw(dirty)
        pad = "" if is_clean else draw(paddings)
        lines.append(pad + f"{pad}{separator}".join(row))
    ends = st.sampled_from(["\n"] if is_clean else ["\n", "\r\n", "\r", "\n\n"])
    return "".join(line + draw(ends) for line in lines), separator, multi_label


def read(path: Path, separator: str, multi_label: bool) -> Annotations | str:
    """Returns the annotations of a list, or the message that refuses it."""
    try:
        return read_csv(str(path), num_classes=NUM_CLASSES, separator=separator, multi_label=multi_label)
    except AnnotationError as error:
        return str(error)


def contents(found: Annotations | str) -> object:
    if isinstance(found, str):
        return found
    segments = [found.segment(i) for i in range(len(found))]
    groups = None if found.groups is None else list(found.groups)
    return list(found.paths), found.labels().tolist(), segments, groups


@settings(max_examples=400)
@given(lists())
@example(("0\t .mp4\t0\n", "\t", False))  # a blank after a tab in the path
def test_clean_lines_give_the_rows_of_the_grammar(given_list: tuple[str, str, bool]) -> None:
    text, separator, multi_label = given_list
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.csv")
        path.write_bytes(text.encode(errors="surrogateescape"))
        with patch.object(path_label, "_CHUNK_BYTES", 40):
            found = read(path, separator, multi_label)
        with patch.object(path_label, "read_clean", side_effect=NotCleanError):
            by_line = read(path, separator, multi_label)
        assert contents(found) == contents(by_line)
        # The tools read the same videos in the same lines.
        if isinstance(found, Annotations):
            rows: list[ListRow] = list(read_list(str(path), separator)[1])
            assert [row.path for row in rows] == list(found.paths)
            assert [row.group for row in rows if row.group] == (list(found.groups) if found.groups else [])


CLEAN = {
    "labels": ("", "v{i}.mp4 {label}", False),
    "segments": ("path label start end\n", "v {i}.mp4 {label} {i} {i}.5", False),
    "segments with the label last": ("path start end label\n", "v {i}.mp4 {i} {i}.5 {label}", False),
    "frame counts": ("path total_frames label\n", "v {i}.mp4 31 {label}", False),
    "groups": ("path group label\n", "v {i}.mp4 person_{i} {label}", False),
    "several labels": ("", "v, {i}.mp4 {label},0;1", True),
    "several labels with segments": ("path label start end\n", "v, {i}.mp4 {label},0 0 {i}.25", True),
    "blank lines": ("\n\n", "v{i}.mp4 {label}\n\r\n", False),
}


@pytest.mark.parametrize(("header", "line", "multi_label"), CLEAN.values(), ids=CLEAN)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_clean_lists_are_not_read_line_by_line(
    tmp_path: Path, header: str, line: str, multi_label: bool, end: str
) -> None:
    rows = (line.format(i=i, label=i % NUM_CLASSES) for i in itertools.count(1))
    (tmp_path / "list.csv").write_bytes(
        (header.replace("\n", end) + "".join(row + end for row in itertools.islice(rows, 50))).encode()
    )
    with patch.object(path_label._ChunkReader, "_read_lines", side_effect=AssertionError("line by line")):
        found = read(tmp_path / "list.csv", " ", multi_label)
    assert isinstance(found, Annotations)
    assert len(found) == 50
