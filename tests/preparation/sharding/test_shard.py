"""The command ``slowfast prepare shard``: same bytes for the same videos, and damaged inputs."""

from __future__ import annotations

import argparse
import json
import os
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from slowfast.datasets.readers.path_label import read_csv
from slowfast.preparation.arguments import byte_count
from slowfast.preparation.sharding import write
from tests.support.sharding.shards import hashes_of, originals, prepare_shards, read_annotations, run_shard


def test_the_shards_hold_the_files_byte_by_byte(listed: Path, tmp_path: Path) -> None:
    report = run_shard(listed, tmp_path / "train")
    shards = sorted((tmp_path / "train").glob("*.tar"))
    assert report["shards"] == len(shards) > 2
    assert (report["videos"], report["bad"], report["kept"]) == (12, [], 0)
    assert report["bytes"] == sum(shard.stat().st_size for shard in shards)
    plain = read_csv(str(listed), num_classes=3)
    label_of = dict(zip(plain.paths, plain.labels().tolist(), strict=True))
    seen = []
    for shard in shards:
        with tarfile.open(shard, "r:") as archive:
            names = archive.getnames()
            assert [name.split(".")[1] for name in names] == ["cls", "json", "mp4"] * (len(names) // 3)
            for key in dict.fromkeys(name.split(".")[0] for name in names):
                contents = {s: archive.extractfile(f"{key}.{s}").read() for s in ("cls", "json", "mp4")}  # type: ignore[union-attr]
                values = json.loads(contents["json"])
                path = listed.parent / values["path"]
                assert contents["mp4"] == path.read_bytes()
                assert int(contents["cls"]) == values["label"] == label_of[values["path"]]
                seen.append((key, values["path"]))
    assert [key for key, _ in seen] == [f"{i:06d}" for i in range(12)]
    assert {path for _, path in seen} == set(label_of)
    assert [path for _, path in seen] != list(label_of)  # shuffled


def test_a_shard_is_as_large_as_was_asked_for(listed: Path, tmp_path: Path) -> None:
    run_shard(listed, tmp_path / "train", "--shard-size", "32KB")
    sizes = [path.stat().st_size for path in sorted((tmp_path / "train").glob("*.tar"))]
    assert 20_000 < max(sizes) <= 32_000
    assert all(before + after > 32_000 for before, after in pairwise(sizes))
    run_shard(listed, tmp_path / "one", "--shard-size", "1GB")
    assert len(hashes_of(tmp_path / "one")) == 1
    run_shard(listed, tmp_path / "each", "--shard-size", "1B")
    assert len(hashes_of(tmp_path / "each")) == 12


def test_the_same_videos_give_the_same_bytes(listed: Path, tmp_path: Path) -> None:
    run_shard(listed, tmp_path / "a")
    for path in listed.parent.rglob("*"):
        os.utime(path, (1, 1))
    run_shard(listed, tmp_path / "b", "--workers", "1")
    assert hashes_of(tmp_path / "a") == hashes_of(tmp_path / "b")
    run_shard(listed, tmp_path / "c", "--seed", "1")
    assert hashes_of(tmp_path / "a") != hashes_of(tmp_path / "c")
    run_shard(listed, tmp_path / "d", "--keep-order")
    assert originals(read_annotations(f"{tmp_path}/d/*.tar")) == list(
        read_csv(str(listed), num_classes=3).paths
    )


def test_bad_videos_are_named_and_counted(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = listed.parent
    (data / "videos/0.v1.mp4").unlink()
    (data / "videos/1.v1.mp4").write_bytes(b"")
    (data / "videos/2.v1.mp4").write_bytes(b"no video" * 50)
    (data / "list.lst").write_text("text")
    listed.write_text(listed.read_text() + "list.lst 1\nvideos 1\n")
    report = run_shard(listed, tmp_path / "train")
    assert report["problems"] == {"missing": 1, "empty": 1, "unknown suffix": 1, "not a file": 1}
    assert report["videos"] == 10  # whether a file is a video is only looked at with --check
    assert f"{data}/videos/0.v1.mp4: missing" in capsys.readouterr().out
    report = run_shard(listed, tmp_path / "checked", "--check")
    assert report["videos"] == 9
    assert report["problems"] == {"not a video": 2, "missing": 1, "empty": 1, "not a file": 1}
    assert {Path(bad["path"]).name for bad in report["bad"]} == {
        "0.v1.mp4", "1.v1.mp4", "2.v1.mp4", "list.lst", "videos",
    }  # fmt: skip
    assert len(read_annotations(f"{tmp_path}/checked/*.tar")) == 9


def test_a_video_that_fails_while_it_is_copied_is_left_out_of_a_valid_shard(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = write._open_unchanged

    def fail(video: Any) -> Any:
        source = real(video)
        if video.path.endswith("/5.v1.mp4"):
            source.seek(100)  # as a file that has become shorter
        if video.path.endswith("/7.v1.mp4"):
            Path(video.path).unlink(missing_ok=True)
            return real(video)
        return source

    monkeypatch.setattr(write, "_open_unchanged", fail)
    report = run_shard(listed, tmp_path / "train")
    assert report["problems"] == {"changed": 1, "missing": 1}
    assert report["videos"] == 10
    names = originals(read_annotations(f"{tmp_path}/train/*.tar"))
    assert sorted(names) == sorted(f"videos/{i}.v1.mp4" for i in range(12) if i not in (5, 7))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 dog\n", "has the label 'dog', which must be a class index"),
        (f"a.mp4 {'1' * 5000}\n", " which must be a class index, or several"),
        ("path label start end\na.mp4 1 3 2\n", "has a wrong segment"),
        ("none.mp4 1\n", "none of its 1 videos can be used, such as none.mp4: missing; relative paths"),
    ],
)
def test_a_wrong_list_is_refused(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.csv").write_text(text)
    assert prepare_shards(tmp_path / "train.csv", tmp_path / "train") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "train").exists()


def test_a_folder_has_no_labels(listed: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert prepare_shards(listed.parent / "videos", tmp_path / "train") == 1
    assert "is a folder without labels; write a list with make-csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "count"), [("1GB", 10**9), ("1.5 MiB", 3 << 19), ("12", 12), ("2k", 2000), ("7B", 7)]
)
def test_sizes_have_units(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1GB", "1XB", "GB", "1.2.3", "0.1B"])
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number of bytes above 0"):
        byte_count(text)
