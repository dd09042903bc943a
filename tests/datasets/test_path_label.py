"""Lists of ``path label``: the forms that are read, and the messages about lines that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slowfast.datasets.annotations import Annotations, PathTable
from slowfast.datasets.readers.path_label import read_csv
from slowfast.datasets.video_list import read_list
from slowfast.errors import AnnotationError
from slowfast.preparation import lists


@pytest.fixture
def read(tmp_path: Path):
    def write_and_read(text: str, **options: object) -> Annotations:
        path = tmp_path / "list.csv"
        path.write_bytes(text.encode())
        return read_csv(str(path), num_classes=5, **options)  # type: ignore[arg-type]

    return write_and_read


def test_paths_may_contain_the_separator(read) -> None:
    found = read("a b/c.mp4 3\n\nd.mp4 0")
    assert list(found.paths) == ["a b/c.mp4", "d.mp4"]
    assert [found.label(i) for i in range(2)] == [3, 0]


def test_windows_line_ends_byte_order_mark_and_prefix(read) -> None:
    found = read("\ufeffa.mp4,1\r\n/b.mp4,2\r\n", separator=",", prefix="/videos")
    assert list(found.paths) == ["/videos/a.mp4", "/b.mp4"]
    assert found.labels().tolist() == [1, 2]


@pytest.mark.parametrize("end", ["", "\r"])
def test_carriage_returns_alone_end_lines(read, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slowfast.datasets.readers.path_label._CHUNK_BYTES", 8)
    found = read(f"path label\ra.mp4 1\r\rb.mp4 2{end}")
    assert list(found.paths) == ["a.mp4", "b.mp4"]
    assert found.labels().tolist() == [1, 2]


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_no_break_space_behind_a_label_is_no_part_of_it(read, multi_label: bool) -> None:
    """Spreadsheets write it."""
    found = read("a.mp4 3\u00a0\nb.mp4 1\n", multi_label=multi_label)
    assert found.labels().tolist() == ([[0, 0, 0, 1, 0], [0, 1, 0, 0, 0]] if multi_label else [3, 1])


@pytest.mark.parametrize(("separator", "joint"), [(" ", ","), (",", ";")])
def test_several_labels_are_read(read, separator: str, joint: str) -> None:
    found = read(f"a.mp4{separator}3{joint}1\nb.mp4{separator}0\n", separator=separator, multi_label=True)
    assert found.labels().tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert found.label(0).tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("header", ["", "path label\n"])
def test_several_labels_with_spaces_between_them_are_not_taken_for_paths(read, header: str) -> None:
    """Lists of MMAction2: a video named 'b c.MP4 3' would be missing, and the others train."""
    with pytest.raises(AnnotationError) as caught:
        read(f"{header}a.mp4 2\n\nb c.MP4 3  1 0\r\nd.mp4 1 2\n", multi_label=True)
    line = 4 if header else 3
    assert f"line {line}: 'b c.MP4 3  1 0' has labels that are separated by spaces" in str(caught.value)
    assert str(caught.value).endswith("join them by commas: 'b c.MP4 3,1,0'")
    assert list(read("b.mp4 3 1\n").paths) == ["b.mp4 3"]  # one label: a space in a name


def test_a_header_announces_start_and_end(read) -> None:
    found = read("path label start end\na b.mp4 3 0 1.5\n\nc.mp4 0 2e1 30.25\n")
    assert list(found.paths) == ["a b.mp4", "c.mp4"]
    assert found.labels().tolist() == [3, 0]
    assert [found.segment(i) for i in range(2)] == [(0.0, 1.5), (20.0, 30.25)]


def test_a_file_of_many_chunks_keeps_its_segments(read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slowfast.datasets.readers.path_label._CHUNK_BYTES", 64)
    text = "path label start end\n" + "".join(f"v{i}.mp4 {i % 5} {i} {i + 1}\n" for i in range(100))
    found = read(text)
    assert list(found.paths) == [f"v{i}.mp4" for i in range(100)]
    assert found.labels().tolist() == [i % 5 for i in range(100)]
    assert np.array_equal(found.segments, np.arange(100)[:, None] + [0, 1])
    with pytest.raises(AnnotationError, match=r"line 101: 'v99.mp4 99 1 2' has a wrong label"):
        read(text.replace("v99.mp4 4 99 100", "v99.mp4 99 1 2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no video"),
        ("path label\n", "contains no video"),
        ("a.mp4 1\nb.mp4\n", "line 2: 'b.mp4' is not a path and a label.*write the label after the path"),
        ("a.mp4 1\n\nb.mp4 five\n", "line 3: 'b.mp4 five' has a wrong label"),
        ("a.mp4 5\n", r"line 1: 'a.mp4 5' has a wrong label: a label is an integer, 0 to 4"),
        ("path label start end\na.mp4 1\n", "line 2: 'a.mp4 1' is not 4 columns as in the header"),
        ("path label start end\na.mp4 1 2 2\n", "line 2.*has a wrong segment"),
        ("path label start end\na.mp4 1 0 1\nb.mp4 1 0 x\n", "line 3.*has a wrong segment"),
        ("path label start end\na.mp4 1 -1 2\n", "line 2.*0 <= start < end"),
        ("path label start end\na.mp4 1 1_0 20\n", "line 2.*has a wrong segment"),
    ],
)
def test_a_wrong_line_is_named(read, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"none.csv: cannot be read .*DATA.PATH_TO_DATA_DIR"):
        read_csv(str(tmp_path / "none.csv"), num_classes=5)


FORMS = {
    "plain": "a b.mp4 3\nc.mp4 0\n",
    "padded lines": "  a b.mp4 3  \n\tc.mp4 0\t\n",
    "aligned columns": "a b.mp4      3\nc.mp4        0\n",
    "aligned by tabs": "a b.mp4\t3\nc.mp4\t\t0\n",
    "quotes": '"a b.mp4" 3\n"c.mp4"   "0"\n',
    "Windows": "a b.mp4 3\r\nc.mp4 0\r\n",
    "header": "filename   class_id\na b.mp4 3\nc.mp4 0\n",
    "header after blank lines": "\n  \npath label\n\na b.mp4 3\nc.mp4 0\n",
    "quoted header": '"path" "label"\na b.mp4 3\nc.mp4 0\n',
    "header with a tab": "path\tlabel\na b.mp4\t3\nc.mp4\t0\n",
    "frame counts": "path total_frames label\na b.mp4 120 3\nc.mp4 31 0\n",
}
COMMA_FORMS = {
    "plain": "a b.mp4,3\nc.mp4,0\n",
    "a space after the comma": "a b.mp4, 3\nc.mp4, 0\n",
    "aligned": "a b.mp4 ,   3\nc.mp4   ,   0\n",
    "quotes": '"a b.mp4","3"\n"c.mp4", 0\n',
    "aligned quotes": '"a b.mp4" ,  "3"\n"c.mp4"   ,  "0"\n',
    "header": "Video,Label\na b.mp4,3\nc.mp4,0\n",
    "empty cells": "video_path,label,fps,split\na b.mp4,3,,\nc.mp4,0,,train\n",
    "more columns": "video_path,label,fps,split\na b.mp4,3,25,train\nc.mp4,0,30,train\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("separator", "text"),
    [*((" ", text) for text in FORMS.values()), *((",", text) for text in COMMA_FORMS.values())],
    ids=[*FORMS, *(f"comma, {name}" for name in COMMA_FORMS)],
)
def test_all_forms_of_one_list_are_read_alike(
    tmp_path: Path, separator: str, text: str, encoding: str
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(encoding))
    found = read_csv(str(path), num_classes=5, separator=separator)
    assert list(found.paths) == ["a b.mp4", "c.mp4"]
    assert found.labels().tolist() == [3, 0]
    form, rows = read_list(str(path), separator)
    assert [(row.path, int(row.label)) for row in rows] == [("a b.mp4", 3), ("c.mp4", 0)]
    # The tools that prepare data sets read the same, and keep the lines that they write.
    videos = lists.read_video_list(str(path), separator=separator)
    videos.write(str(tmp_path / "copy.csv"), videos.entries)
    copy = read_csv(str(tmp_path / "copy.csv"), num_classes=5, separator=separator)
    assert videos.paths == list(copy.paths) == ["a b.mp4", "c.mp4"]
    assert copy.labels().tolist() == [3, 0]
    assert (form.header == "") == (text[0] in "a \t" or text.startswith(('"a', '"c')))


def test_paths_may_contain_quotes_and_end_in_digits(read) -> None:
    found = read('the "best" of.mp4 3\nvideo 12 4\n')
    assert list(found.paths) == ['the "best" of.mp4', "video 12"]


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    for padding in (b"", b" "):
        (tmp_path / "list.csv").write_bytes(b"caf\xe9.mp4 1\n" + padding + "café.mp4 2\n".encode())
        found = read_csv(str(tmp_path / "list.csv"), num_classes=5)
        assert list(found.paths) == ["caf\udce9.mp4", "café.mp4"]


def test_plain_and_other_lines_of_many_chunks_read_alike(read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks with a padded line are read line by line, the others by NumPy."""
    monkeypatch.setattr("slowfast.datasets.readers.path_label._CHUNK_BYTES", 100)
    lines = [f"folder {i % 7}/v{i}.mp4 {i % 5}" for i in range(300)]
    padded = [f"{line} " if i % 40 == 0 else line for i, line in enumerate(lines)]
    expected = [line.rpartition(" ")[0] for line in lines]
    for end in ("\n", "\r\n"):
        found = read(end.join(padded))
        assert list(found.paths) == expected
        assert found.labels().tolist() == [i % 5 for i in range(300)]
        with pytest.raises(AnnotationError, match=r"line 251: 'folder 5/v250.mp4 7' has a wrong label"):
            read(end.join(padded).replace("v250.mp4 0", "v250.mp4 7"))


@pytest.mark.parametrize(
    ("text", "separator", "message"),
    [
        ("a.mp4, 3\n", " ", r"line 1: 'a.mp4, 3' .*the columns are separated by ','; set DATA.PATH_LABEL"),
        ("a.mp4,3\n", " ", r"line 1: .*SEPARATOR is ' ', but the line contains a comma: set it to ','"),
        ("clip 0.mp4;3\n", " ", r"SEPARATOR is ' ', but the line contains a semicolon: set it to ';'"),
        ("a b.mp4;0,3\n", " ", r"SEPARATOR is ' ', but the line contains a semicolon: set it to ';'"),
        ("a.mp4;3\n", ",", r"but the line contains a semicolon: set it to ';'"),
        ("a.mp4\t3\n", ",", r"but the line contains a tab: set it to '\\t'"),
        ("a.mp4 3\n", ",", r"but the line contains a space: set it to ' '"),
        ("path label start\na.mp4 3 1\n", " ", r"line 1: .*only one of start and end"),
        ("clip number\na.mp4 3\n", " ", r"line 1: 'clip number' has a wrong label.*must be 'path label'"),
        ("path total_frames label\na.mp4 3\n", " ", r"line 2: 'a.mp4 3' is not 3 columns as in the header"),
    ],
)
def test_a_list_in_another_form_is_refused_with_what_to_change(
    read, text: str, separator: str, message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(text, separator=separator)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.mp4 3\n".encode("utf-16-le"), "zero bytes: it is binary, or UTF-16 without a byte-order mark"),
        (b"\xff\xfea", "damaged UTF-16"),
        (b"\xff\xfe", "contains no video"),
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        read_csv(str(tmp_path / "list.csv"), num_classes=5)
    with pytest.raises(AnnotationError, match=message):
        read_list(str(tmp_path / "list.csv"), " ")


def test_the_hash_differs_between_lists_and_accepts_any_name() -> None:
    names = ["a.mp4", "bc.mp4", "ü.mp4", "latin\udcff.mp4"]
    content_hash = PathTable.from_strings(names).content_hash()
    assert content_hash == PathTable.from_strings(names).content_hash()
    others = [names[::-1], names[:-1], ["a.mp4b", "c.mp4", *names[2:]]]
    assert all(PathTable.from_strings(other).content_hash() != content_hash for other in others)
    assert PathTable.from_strings(names, prefix="/data").content_hash() != content_hash


def test_equal_paths_are_found() -> None:
    names = ["a/1.mp4", "b/1.mp4", "a/1.mp4", "a/1.mp", "", "ü.mp4", "a/1.mp4", ""]
    table = PathTable.from_strings(names, prefix="/data")
    for index, name in enumerate(names):
        assert table.find_same(index).tolist() == [i for i, other in enumerate(names) if other == name]
