"""The command ``slowfast prepare shard``: same bytes for the same videos, interrupted and damaged inputs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import webdataset

from slowfast.datasets.readers.path_label import read_csv
from slowfast.preparation.arguments import byte_count
from slowfast.preparation.sharding import write
from tests.support.sharding.shards import originals, prepare_shards, read_annotations, write_tar
from tests.support.videos import write_csv, write_video

ROOT = Path(__file__).parents[2]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of 12 videos of three classes, one class after another."""
    folder = tmp_path / "data"
    (folder / "videos").mkdir(parents=True)
    names = [(f"videos/{i}.v1.mp4", i // 4) for i in range(12)]
    for i, (name, _) in enumerate(names):
        write_video(folder / name, 4 + i, size=(32, 32))
    return write_csv(folder / "train.csv", names)


def run(listed: Path, target: Path, *options: str, status: int = 0) -> dict[str, Any]:
    """Runs the command with its list's folder as prefix; returns the report."""
    report = target.parent / "report.json"
    own = ("--prefix", str(listed.parent), "--shard-size", "12KB", "--report", str(report))
    assert prepare_shards(listed, target, *own, *options) == status
    return json.loads(report.read_text()) if status == 0 else {}


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("shard-*.tar"))
    }


def test_the_shards_hold_the_files_byte_by_byte(listed: Path, tmp_path: Path) -> None:
    report = run(listed, tmp_path / "train")
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
    run(listed, tmp_path / "train", "--shard-size", "32KB")
    sizes = [path.stat().st_size for path in sorted((tmp_path / "train").glob("*.tar"))]
    assert 20_000 < max(sizes) <= 32_000
    assert all(before + after > 32_000 for before, after in pairwise(sizes))
    run(listed, tmp_path / "one", "--shard-size", "1GB")
    assert len(hashes(tmp_path / "one")) == 1
    run(listed, tmp_path / "each", "--shard-size", "1B")
    assert len(hashes(tmp_path / "each")) == 12


def test_the_same_videos_give_the_same_bytes(listed: Path, tmp_path: Path) -> None:
    run(listed, tmp_path / "a")
    for path in listed.parent.rglob("*"):
        os.utime(path, (1, 1))
    run(listed, tmp_path / "b", "--workers", "1")
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    run(listed, tmp_path / "c", "--seed", "1")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")
    run(listed, tmp_path / "d", "--keep-order")
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
    report = run(listed, tmp_path / "train")
    assert report["problems"] == {"missing": 1, "empty": 1, "unknown suffix": 1, "not a file": 1}
    assert report["videos"] == 10  # whether a file is a video is only looked at with --check
    assert f"{data}/videos/0.v1.mp4: missing" in capsys.readouterr().out
    report = run(listed, tmp_path / "checked", "--check")
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
            source._file.seek(100)  # as a file that has become shorter
        if video.path.endswith("/7.v1.mp4"):
            Path(video.path).unlink(missing_ok=True)
            return real(video)
        return source

    monkeypatch.setattr(write, "_open_unchanged", fail)
    report = run(listed, tmp_path / "train")
    assert report["problems"] == {"changed": 1, "missing": 1}
    assert report["videos"] == 10
    names = originals(read_annotations(f"{tmp_path}/train/*.tar"))
    assert sorted(names) == sorted(f"videos/{i}.v1.mp4" for i in range(12) if i not in (5, 7))


def test_finished_shards_are_kept(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(listed, tmp_path / "whole")
    real, target = write._write_archive, tmp_path / "train"

    def interrupt(shard: Any, *rest: Any) -> None:
        if shard.name == "shard-000002.tar":
            raise KeyboardInterrupt
        real(shard, *rest)

    monkeypatch.setattr(write, "_write_archive", interrupt)
    run(listed, target, "--workers", "1", status=130)
    assert "the same command continues from here" in capsys.readouterr().err
    assert len(hashes(target)) == 2
    assert not list(target.glob(".*writing*"))
    # Such a folder is not taken for the data set.
    assert "not all of its" in str(refused(target))
    monkeypatch.setattr(write, "_write_archive", real)
    times = {path.name: path.stat().st_mtime_ns for path in target.glob("*.tar")}
    report = run(listed, target)
    assert report["kept"] == 2
    assert hashes(target) == hashes(tmp_path / "whole")
    assert {name: (target / name).stat().st_mtime_ns for name in times} == times
    assert run(listed, target)["kept"] == report["shards"]


def refused(target: Path) -> Exception:
    with pytest.raises(Exception) as error:
        read_annotations(f"{target}/*.tar")
    return error.value


def test_a_damaged_shard_is_written_again(listed: Path, tmp_path: Path) -> None:
    run(listed, target := tmp_path / "train")
    wanted = hashes(target)
    (target / "shard-000001.tar").write_bytes(b"cut off")
    report = run(listed, target)
    assert report["kept"] == report["shards"] - 1
    assert hashes(target) == wanted


def test_shards_of_other_videos_are_replaced_only_on_request(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(listed, target := tmp_path / "train")
    count = len(hashes(target))
    for changes in (("--shard-size", "1GB"), ("--seed", "2"), ("--keep-order",)):
        run(listed, target, *changes, status=1)
        assert "of other videos or options" in capsys.readouterr().err
    write_video(listed.parent / "videos/3.v1.mp4", 9, size=(32, 32))
    run(listed, target, status=1)
    assert "its videos have changed; add --overwrite" in capsys.readouterr().err
    assert len(hashes(target)) == count
    assert run(listed, target, "--shard-size", "1GB", "--overwrite")["shards"] == 1
    assert len(hashes(target)) == len(list(target.glob("*.index.json"))) == 1


def test_foreign_shards_are_never_deleted(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = write_tar(tmp_path / "train/mine.tar", {"a.mp4": b"v"})
    for options in ((), ("--overwrite",)):
        run(listed, tmp_path / "train", *options, status=1)
        assert "holds shards (mine.tar) not of this command" in capsys.readouterr().err
    assert foreign.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 dog\n", "has the label 'dog', which must be a class index"),
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
    with pytest.raises(Exception, match="must be a number of bytes above 0"):
        byte_count(text)


# ------------------------------------------------------------------------------------------ webdataset


def test_webdataset_reads_what_we_write(listed: Path, tmp_path: Path) -> None:
    run(listed, target := tmp_path / "train")
    last = len(hashes(target)) - 1
    pattern = f"{target}/shard-{{000000..{last:06d}}}.tar"
    dataset = webdataset.WebDataset(pattern, shardshuffle=False).decode()
    samples = list(dataset.to_tuple("__key__", "mp4", "cls", "json"))
    found = read_annotations(pattern)
    assert [key for key, *_ in samples] == [f"{i:06d}" for i in range(12)]
    assert [label for _, _, label, _ in samples] == found.labels().tolist()
    assert [values["path"] for *_, values in samples] == originals(found)
    for _, video, _, values in samples:
        assert video == (listed.parent / values["path"]).read_bytes()


def test_we_read_what_webdataset_writes(listed: Path, tmp_path: Path) -> None:
    videos = sorted((listed.parent / "videos").iterdir())
    (tmp_path / "train").mkdir()
    with webdataset.ShardWriter(f"{tmp_path}/train/shard-%06d.tar", maxcount=5, verbose=0) as writer:
        for i, video in enumerate(videos):
            label = {"cls": i % 3} if i % 2 else {"json": {"label": i % 3, "group": f"g{i}"}}
            writer.write({"__key__": f"sample{i:03d}", "mp4": video.read_bytes(), "txt": "a text", **label})
    found = read_annotations(tmp_path)
    assert found.labels().tolist() == [i % 3 for i in range(12)]
    for path, video in zip(found.paths, videos, strict=True):
        with path.open() as member:  # type: ignore[attr-defined]
            assert member.read() == video.read_bytes()


# --------------------------------------------------------------------------------------------- signals


@pytest.mark.faults
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_command_leaves_whole_shards_and_continues(
    listed: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    """The command itself is stopped as soon as the first shard is finished."""
    text = "".join(f"videos/{i % 12}_{i}.mp4 {i % 3}\n" for i in range(2400))
    for line in text.splitlines():
        name = line.split()[0]
        number = name.split("/")[1].split("_")[0]
        os.link(listed.parent / f"videos/{number}.v1.mp4", listed.parent / name)
    listed.write_text(text)
    run(listed, tmp_path / "whole")
    target = tmp_path / "train"
    command = [sys.executable, "-m", "slowfast.cli.main", "prepare", "shard", str(listed), str(target)]
    options = ["--prefix", str(listed.parent), "--shard-size", "12KB", "--workers", "2"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts jobs in the background with SIGINT ignored, which processes inherit.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(target.glob("shard-*.index.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signum)
    _, messages = process.communicate(timeout=60)
    if signum == signal.SIGINT:
        assert process.returncode == 130, messages
        assert "the same command continues" in messages
    for name, content in hashes(target).items():
        assert content == hashes(tmp_path / "whole")[name]
    report = run(listed, target)
    assert 0 < report["kept"] < report["shards"]
    assert hashes(target) == hashes(tmp_path / "whole")
    assert not list(target.glob(".*"))  # what the killed process had begun
