"""Lists of ``path label``: what they may hold, and what is said of a line that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slowfast.datasets.annotations import Annotations, PathTable, read_csv
from slowfast.errors import AnnotationError


@pytest.fixture
def read(tmp_path: Path):
    def write_and_read(text: str, **options: object) -> Annotations:
        path = tmp_path / "list.csv"
        path.write_bytes(text.encode())
        return read_csv(str(path), num_classes=5, **options)  # type: ignore[arg-type]

    return write_and_read


def test_paths_may_hold_the_separator(read) -> None:
    found = read("a b/c.mp4 3\n\nd.mp4 0")
    assert list(found.paths) == ["a b/c.mp4", "d.mp4"]
    assert [found.label(i) for i in range(2)] == [3, 0]


def test_windows_line_ends_byte_order_mark_and_prefix(read) -> None:
    found = read("\ufeffa.mp4,1\r\n/b.mp4,2\r\n", separator=",", prefix="/videos")
    assert list(found.paths) == ["/videos/a.mp4", "/b.mp4"]
    assert found.labels().tolist() == [1, 2]


@pytest.mark.parametrize("end", ["", "\r"])
def test_carriage_returns_alone_end_lines(read, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slowfast.datasets.annotations._CHUNK_BYTES", 8)
    found = read(f"path label\ra.mp4 1\r\rb.mp4 2{end}")
    assert list(found.paths) == ["a.mp4", "b.mp4"]
    assert found.labels().tolist() == [1, 2]


@pytest.mark.parametrize(("separator", "joint"), [(" ", ","), (",", ";")])
def test_several_labels(read, separator: str, joint: str) -> None:
    found = read(f"a.mp4{separator}3{joint}1\nb.mp4{separator}0\n", separator=separator, multi_label=True)
    assert found.labels().tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert found.label(0).tolist() == [0, 1, 0, 1, 0]


def test_a_header_announces_start_and_end(read) -> None:
    found = read("path label start end\na b.mp4 3 0 1.5\n\nc.mp4 0 2e1 30.25\n")
    assert list(found.paths) == ["a b.mp4", "c.mp4"]
    assert found.labels().tolist() == [3, 0]
    assert [found.segment(i) for i in range(2)] == [(0.0, 1.5), (20.0, 30.25)]


def test_a_header_of_two_columns_changes_nothing(read) -> None:
    assert read("path label\na.mp4 3\n").segment(0) is None


def test_a_file_of_many_chunks_reads_as_one(read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slowfast.datasets.annotations._CHUNK_BYTES", 64)
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
        ("", "holds no video"),
        ("path label\n", "holds no video"),
        ("a.mp4 1\nb.mp4\n", "line 2: 'b.mp4' is not a path and a label"),
        ("a.mp4 1\n\nb.mp4 five\n", "line 3: 'b.mp4 five' has a wrong label"),
        ("a.mp4 5\n", r"line 1: 'a.mp4 5' has a wrong label: a label is an integer, 0 to 4"),
        ("a.mp4 -1\n", "line 1"),
        ("path label start end\na.mp4 1\n", "line 2: 'a.mp4 1' is not a path, a label, a start and an end"),
        ("path label start end\na.mp4 1 2 2\n", "line 2.*has a wrong segment"),
        ("path label start end\na.mp4 1 0 1\nb.mp4 1 0 x\n", "line 3.*has a wrong segment"),
        ("path label start end\na.mp4 1 -1 2\n", "line 2.*0 <= start < end"),
    ],
)
def test_a_wrong_line_is_named(read, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"none.csv: cannot be read .*DATA.PATH_TO_DATA_DIR"):
        read_csv(str(tmp_path / "none.csv"), num_classes=5)


def test_the_digest_tells_lists_apart_and_takes_any_name() -> None:
    names = ["a.mp4", "bc.mp4", "ü.mp4", "latin\udcff.mp4"]
    digest = PathTable.from_strings(names).digest()
    assert digest == PathTable.from_strings(names).digest()
    others = [names[::-1], names[:-1], ["a.mp4b", "c.mp4", *names[2:]]]
    assert all(PathTable.from_strings(other).digest() != digest for other in others)
    assert PathTable.from_strings(names, prefix="/data").digest() != digest
