"""The rows of shards of any origin, and the index that spares scanning them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.datasets.shards import index, rows
from slowfast.datasets.shards.index import index_path, load_index, load_rows
from slowfast.datasets.shards.rows import Row, read_rows
from slowfast.errors import AnnotationError
from tests.support.sharding.shards import read_annotations, write_tar


def as_json(**values: Any) -> bytes:
    return json.dumps(values).encode()


def read(tmp_path: Path, members: Mapping[str, bytes]) -> list[Row]:
    return read_rows(str(write_tar(tmp_path / "shard-000007.tar", members)))


def test_labels_of_every_form_are_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "0.mp4": b"v", "0.cls": b"2\n",
            "d/1.json": as_json(label=1, path="a.mp4", start=0.5, end=2, group="g"), "d/1.webm": b"v",
            "2.AVI": b"v", "2.json": as_json(label=2), "2.jpg": b"image", "2.cls": b"2",
            "3.mp4": b"v", "3.json": as_json(path="b", rows=[{"label": 0}, {"label": 1, "group": 7}]),
            ".hidden.mp4": b"v", "README": b"text",
        },
    )  # fmt: skip
    assert [(row.member, row.labels, row.original, row.segment, row.group) for row in found] == [
        ("0.mp4", (2,), "", None, ""),
        ("d/1.webm", (1,), "a.mp4", (0.5, 2.0), "g"),
        ("2.AVI", (2,), "", None, ""),
        ("3.mp4", (0,), "b", None, ""),
        ("3.mp4", (1,), "b", None, "7"),
    ]
    content = (tmp_path / "shard-000007.tar").read_bytes()
    assert {content[row.start :][: row.size] for row in found} == {b"v"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"0.mp4": b"v"}, r"shard-000007\.tar: 0\.mp4: has no label"),
        ({"0.mp4": b"v", "0.cls": b"dog"}, r"shard-000007\.tar: 0\.cls: contains 'dog', which must be a c"),
        ({"0.mp4": b"v", "0.json": b"{"}, r"0\.json: is not valid json"),
        ({"0.mp4": b"v", "0.json": b"3"}, "contains a int, which must be an object"),
        ({"0.mp4": b"v", "0.json": as_json(label="dog")}, "the label 'dog' must be a class index or a list"),
        ({"0.mp4": b"v", "0.json": as_json(label=True)}, "the label True must be a class index"),
        ({"0.mp4": b"v", "0.json": as_json(labels=[])}, "must be a class index or a list"),
        ({"0.mp4": b"v", "0.json": as_json(label=1), "0.cls": b"2"}, r"the label 1 differs from 2 in \.cls"),
        ({"0.mp4": b"v", "0.json": as_json(label=1, start=3)}, "0 <= start < end"),
        ({"0.mp4": b"v", "0.json": as_json(label=1, start=3, end=2)}, "0 <= start < end"),
        ({"0.mp4": b"v", "0.json": as_json(label=1, start=0, end=10**400)}, "0 <= start < end"),
        ({"0.mp4": b"v", "0.json": as_json(label=1, path=3)}, "'path' = 3 must be a text"),
        ({"0.mp4": b"v", "0.json": as_json(rows=[])}, "'rows' must be a list"),
        ({"0.mp4": b"v", "0.cls": b"1" * 5000}, r"0\.cls: contains '1111.*must be a class index"),
        (
            {"0.mp4": b"v", "0.json": b"[" * 200_000},
            r"0\.json: is not valid json \(it is nested more than 100 levels",
        ),
        (
            {"0.mp4": b"v", "0.json": as_json(label=1, path="\ud83d")},
            r"0\.json: 'path' = '\\ud83d' must be valid Unicode",
        ),
        ({"0.mp4": b"v", "0.json": as_json(label=1, group="\ud83d")}, r"'group' = '\\ud83d' must be valid"),
        ({"0.mp4": b"v", "0.json": as_json(label=1, path="a\0b")}, r"'path' = 'a\\x00b' must be a text w"),
        ({"0.cls": b"1", "0.jpg": b""}, r"'0' must have one video.*has 0 \(its members: 0\.cls, 0\.jpg\)"),
        ({"0.mp4": b"v", "0.avi": b"v", "0.cls": b"1"}, "must have one video, such as 0.mp4, and has 2"),
        ({"0.mp4": b"v", "0.MP4": b"v", "0.cls": b"1"}, r"0\.MP4: is there twice"),
    ],
)
def test_a_wrong_sample_is_named(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(tmp_path, members)


def test_a_path_that_is_not_utf8_is_kept(tmp_path: Path) -> None:
    path = os.fsdecode(b"caf\xe9.mp4")
    write_tar(tmp_path / "train/0.tar", {"0.mp4": b"v", "0.json": as_json(label=1, path=path, group=path)})
    found = read_annotations(tmp_path)
    assert [found.paths[0].original, *found.groups] == [path, path]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"label": 3}, {}, r"shard-0\.tar: 1\.mp4: has the label 3, which must be 0 to 2"),
        ({"labels": [0, 1]}, {}, "has 2 labels; set DATA.MULTI_LABEL True"),
        ({"label": 1, "start": 0, "end": 1}, {}, r"0\.mp4: has no 'start' and 'end', but other videos have"),
    ],
)
def test_a_row_that_does_not_fit_the_data_set_is_named(
    tmp_path: Path, values: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    members = {"0.mp4": b"v", "0.cls": b"0", "1.mp4": b"v", "1.json": as_json(**values)}
    write_tar(tmp_path / "train" / "shard-0.tar", members)
    with pytest.raises(AnnotationError, match=message):
        read_annotations(tmp_path, **options)


def test_several_labels_segments_and_groups_arrive_in_the_annotations(tmp_path: Path) -> None:
    values = [{"labels": [0, 2], "start": 0, "end": 1.5, "group": "x"}, {"label": 1, "start": 1, "end": 2}]
    write_tar(tmp_path / "train/0.tar", {"0.mp4": b"v", "0.json": as_json(rows=values)})
    found = read_annotations(tmp_path, multi_label=True)
    np.testing.assert_array_equal(found.labels(), [[1, 0, 1], [0, 1, 0]])
    assert [found.segment(0), found.segment(1)] == [(0.0, 1.5), (1.0, 2.0)]
    assert list(found.groups) == ["x", f"{tmp_path}/train/0.tar: 0.mp4"]
    assert list(found.paths) == [f"{tmp_path}/train/0.tar: 0.mp4"] * 2


def test_a_row_without_a_group_is_in_that_of_its_file(tmp_path: Path) -> None:
    rows = [{"label": 0}, {"label": 1, "group": None}]
    members = {
        "0.mp4": b"v",
        "0.json": as_json(label=0, group="x", path="0.avi"),
        "1.mp4": b"v",
        "1.json": as_json(label=0, group=None, path="1.avi"),
        "2.mp4": b"v",
        "2.json": as_json(rows=rows),
    }
    write_tar(tmp_path / "train/0.tar", members)
    found = read_annotations(tmp_path)
    assert list(found.groups) == ["x", "1.avi", *[f"{tmp_path}/train/0.tar: 2.mp4"] * 2]
    write_tar(tmp_path / "train/0.tar", {name: members[name] for name in ("1.mp4", "1.json")})
    assert read_annotations(tmp_path).groups is None


# ----------------------------------------------------------------------------------------------- index


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return [
        str(write_tar(tmp_path / f"shard-{s}.tar", {f"{s}{i}.{suffix}": content for i in range(3)
                      for suffix, content in (("cls", b"%d" % i), ("mp4", b"v" * i))}))
        for s in range(3)
    ]  # fmt: skip


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that are scanned, each time."""
    names: list[str] = []

    def record(shard: str) -> list[Row]:
        names.append(os.path.basename(shard))
        return rows.read_rows(shard)

    monkeypatch.setattr(index, "read_rows", record)
    return names


def test_a_shard_is_scanned_once(shards: list[str], scanned: list[str]) -> None:
    first = load_rows(shards)
    assert sorted(scanned) == ["shard-0.tar", "shard-1.tar", "shard-2.tar"]
    assert load_rows(shards) == first == [read_rows(shard) for shard in shards]
    assert len(scanned) == 3
    kinds = {path.suffix for path in Path(shards[0]).parent.iterdir()}
    assert kinds == {".tar", ".json"}  # neither locks nor temporary files


def test_only_an_outdated_index_is_made_again(shards: list[str], scanned: list[str]) -> None:
    load_rows(shards)
    scanned.clear()
    write_tar(Path(shards[1]), {"9.mp4": b"other", "9.cls": b"2"})  # another size
    found = load_rows(shards)
    assert scanned == ["shard-1.tar"]
    assert [row.member for row in found[1]] == ["9.mp4"]
    write_tar(Path(shards[1]), {"8.mp4": b"other", "8.cls": b"1"})  # the same size, another time
    os.utime(shards[1], ns=(0, 0))
    assert [row.member for row in load_rows(shards)[1]] == ["8.mp4"]
    assert scanned == ["shard-1.tar"] * 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "",
        lambda content: "[]",
        lambda content: "[" * 100_000,
        lambda content: content[:-20],
        lambda content: content.replace('"format":2', '"format":0'),
        lambda content: content.replace('["00.mp4",', '["00.mp4",-'),
        lambda content: content.replace('["02.mp4",', '["02.mp4",9'),
        lambda content: content.replace("[0]", "[]"),
        lambda content: content.replace('"00.mp4"', "null"),
    ],
)
def test_a_damaged_index_is_made_again(shards: list[str], scanned: list[str], damage: Any) -> None:
    wanted = load_rows(shards)
    path = Path(index_path(shards[0]))
    damaged = damage(path.read_text())
    assert damaged != path.read_text()
    path.write_text(damaged)
    scanned.clear()
    assert load_rows(shards) == wanted
    assert scanned == ["shard-0.tar"]
    assert load_index(shards[0]) == wanted[0]


def test_processes_that_start_together_scan_once(shards: list[str], scanned: list[str]) -> None:
    barrier = threading.Barrier(3)

    def start(_: int) -> list[list[Row]]:
        barrier.wait()
        return load_rows(shards)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(start, range(3)))
    assert results[0] == results[1] == results[2]
    assert sorted(scanned) == ["shard-0.tar", "shard-1.tar", "shard-2.tar"]


def test_a_folder_that_cannot_be_written_is_scanned_each_time(
    shards: list[str], scanned: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: str, text: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(index, "write_text", refuse)
    with caplog.at_level("WARNING", logger="slowfast"):
        assert load_rows(shards) == load_rows(shards)
    assert len(scanned) == 6
    assert "shard-0.index.json: cannot be stored" in caplog.text


def test_shards_on_a_file_system_without_locks_are_scanned_once(
    shards: list[str], scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("file system does not support hard links")

    monkeypatch.setattr(index.FileLock, "acquire", refuse)
    assert load_rows(shards) == load_rows(shards)
    assert sorted(scanned) == ["shard-0.tar", "shard-1.tar", "shard-2.tar"]


def test_a_truncated_shard_is_named(shards: list[str]) -> None:
    content = Path(shards[1]).read_bytes()
    Path(shards[1]).write_bytes(content[:2560])
    with pytest.raises(AnnotationError, match=r"shard-1\.tar: is cut off or damaged at byte 2560 of 2560"):
        load_rows(shards)
