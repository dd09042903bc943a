"""The shards of a split, by folder and by pattern."""

from __future__ import annotations

from pathlib import Path

import pytest
from braceexpand import braceexpand

from slowfast.datasets.shards.find import expand_braces, find_class_file, find_shards
from slowfast.datasets.shards.manifest import ShardManifest
from slowfast.errors import AnnotationError
from tests.support.reading.data_sets import lay_out


@pytest.mark.parametrize(
    "pattern",
    [
        "shard-000000.tar",
        "shard-{000..010}.tar",
        "s{0..12}.tar",
        "{a,b}/s-{08..11}.tar",
        "{b,a,}x{3..1}.tar",
        "x{007..010}y{a,b}z.tar",
        "no-{braces}.tar",
    ],
)
def test_braces_stand_for_what_webdataset_takes_them_for(pattern: str) -> None:
    assert expand_braces(pattern) == list(braceexpand(pattern))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards of two layouts, empty but for their names."""
    names = ("train/shard-000000.tar", "train/shard-000001.tar", "train/notes.txt", "val-0.tar", "test_0.tar")
    return lay_out(tmp_path, dict.fromkeys(names, ""))


@pytest.mark.parametrize(
    ("pattern", "split", "names"),
    [
        ("", "train", ["train/shard-000000.tar", "train/shard-000001.tar"]),
        ("", "val", ["val-0.tar"]),
        ("", "test", ["test_0.tar"]),
        ("{split}/shard-{000000..000001}.tar", "train", ["train/shard-000000.tar", "train/shard-000001.tar"]),
        ("{split}/*.tar", "train", ["train/shard-000000.tar", "train/shard-000001.tar"]),
        ("train/shard-{000001,000000}.tar", "test", ["train/shard-000001.tar", "train/shard-000000.tar"]),
        ("{train/*,val-0}.tar", "val", ["train/shard-000000.tar", "train/shard-000001.tar", "val-0.tar"]),
        ("val-0.tar", "val", ["val-0.tar"]),
    ],
)
def test_shards_are_found_in_order(folder: Path, pattern: str, split: str, names: list[str]) -> None:
    assert find_shards(str(folder / pattern), split) == [str(folder / name) for name in names]


def test_a_shard_may_have_a_wildcard_in_its_name(folder: Path) -> None:
    path = folder / "train[1].tar"
    path.touch()
    assert find_shards(str(path), "train") == [str(path)]


@pytest.mark.parametrize("name", ["clips", "clips [v2]", "{clips}"])
def test_class_names_lie_beside_the_shards_of_any_folder(tmp_path: Path, name: str) -> None:
    train = tmp_path / name / "train"
    train.mkdir(parents=True)
    (train / "shard-000000.tar").touch()
    (train / "classes.json").touch()
    ShardManifest("train.csv", "hash", 1, 1, complete=True).write(str(train))
    assert find_shards(str(tmp_path / name), "train") == [str(train / "shard-000000.tar")]
    assert find_class_file(str(tmp_path / name)) == str(train / "classes.json")


@pytest.mark.parametrize(
    ("pattern", "split", "message"),
    [
        ("train/shard-{000000..000003}.tar", "train", r"2 of its shards do not exist, such as .*000002\.tar"),
        ("none/*.tar", "train", "1 of its shards do not exist"),
        ("train", "train", r"no shards of the split 'train'.*in the folder itself, write .*train/\*\.tar"),
        ("none", "train", "contains no shards of the split 'train'"),
        ("shard-{0..10000000}.tar", "train", "fewer than 1000000 shards"),
    ],
)
def test_what_is_missing_is_named(folder: Path, pattern: str, split: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        find_shards(str(folder / pattern), split)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar.zst"])
def test_compressed_shards_are_refused_also_beside_others(folder: Path, suffix: str) -> None:
    (folder / f"train/shard-000002{suffix}").touch()
    for pattern in ("", "train/*", f"train/shard-000002{suffix}*"):
        with pytest.raises(AnnotationError, match=rf"shard-000002\{suffix}: is compressed.*unpack"):
            find_shards(str(folder / pattern), "train")


@pytest.mark.parametrize(
    "content", ['{"format": 1', "[" * 100_000, "[]", "{}", '{"format": 1, "left_out": [[[]]]}', None]
)
def test_a_damaged_manifest_is_named(folder: Path, content: str | None) -> None:
    ShardManifest("train.csv", "hash", 2, 9, complete=True).write(str(folder / "train"))
    manifest = folder / "train/shards.json"
    manifest.write_text(content or manifest.read_text().replace('"shards": 2', '"shards": "2"'))
    with pytest.raises(AnnotationError, match=r"shards\.json: cannot be read .*or delete the file"):
        find_shards(str(folder), "train")


def test_shards_that_are_not_all_there_are_refused(folder: Path) -> None:
    train = str(folder / "train")
    ShardManifest("train.csv", "hash", 3, 9).write(train)
    with pytest.raises(AnnotationError, match="not all of its 3 shards are written; run the same"):
        find_shards(str(folder), "train")
    ShardManifest("train.csv", "hash", 3, 9, complete=True).write(train)
    with pytest.raises(AnnotationError, match="has 2 of 3 shards; copy the others"):
        find_shards(str(folder), "train")
    assert len(find_shards(f"{train}/shard-00000{{0..1}}.tar", "train")) == 2
    ShardManifest("train.csv", "hash", 2, 9, complete=True).write(train)
    assert len(find_shards(str(folder), "train")) == 2
