"""Calls of ``slowfast prepare shard`` into a folder that has shards already."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slowfast.datasets.class_names import find_class_names
from slowfast.preparation.sharding import write
from slowfast.progress import Progress
from tests.support.sharding.shards import hashes_of, read_annotations, run_shard, write_tar
from tests.support.videos import write_video

ROOT = Path(__file__).parents[3]


def test_finished_shards_are_kept(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_shard(listed, tmp_path / "whole")
    real, target = write._write_archive, tmp_path / "train"

    def interrupt(shard: Any, *rest: Any) -> None:
        if shard.name == "shard-000002.tar":
            raise KeyboardInterrupt
        real(shard, *rest)

    monkeypatch.setattr(write, "_write_archive", interrupt)
    run_shard(listed, target, "--workers", "1", status=130)
    assert "the same command continues from here" in capsys.readouterr().err
    assert len(hashes_of(target)) == 2
    assert not list(target.glob(".*writing*"))
    # Such a folder is not taken for the data set.
    assert "not all of its" in str(refused(target))
    monkeypatch.setattr(write, "_write_archive", real)
    times = {path.name: path.stat().st_mtime_ns for path in target.glob("*.tar")}
    report = run_shard(listed, target)
    assert report["kept"] == 2
    assert hashes_of(target) == hashes_of(tmp_path / "whole")
    assert {name: (target / name).stat().st_mtime_ns for name in times} == times
    assert run_shard(listed, target)["kept"] == report["shards"]


def test_the_rate_leaves_out_finished_shards(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_shard(listed, target := tmp_path / "train")
    (target / "shard-000001.tar").unlink()
    begun: list[Progress] = []

    def spy(*args: Any, **options: Any) -> Progress:
        begun.append(replace(progress := Progress(*args, **options)))
        return progress

    monkeypatch.setattr(write, "Progress", spy)
    report = run_shard(listed, target)
    assert [(progress.total, progress.done) for progress in begun] == [(12, 11)]
    assert (report["videos"], report["kept"]) == (12, 8)


def refused(target: Path) -> Exception:
    with pytest.raises(Exception) as error:
        read_annotations(f"{target}/*.tar")
    return error.value


def test_a_damaged_shard_is_written_again(listed: Path, tmp_path: Path) -> None:
    run_shard(listed, target := tmp_path / "train")
    wanted = hashes_of(target)
    (target / "shard-000001.tar").write_bytes(b"cut off")
    report = run_shard(listed, target)
    assert report["kept"] == report["shards"] - 1
    assert hashes_of(target) == wanted


def test_shards_of_other_videos_are_replaced_only_on_request(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_shard(listed, target := tmp_path / "train")
    count = len(hashes_of(target))
    for changes in (("--shard-size", "1GB"), ("--seed", "2"), ("--keep-order",)):
        run_shard(listed, target, *changes, status=1)
        assert "of other videos or options" in capsys.readouterr().err
    write_video(listed.parent / "videos/3.v1.mp4", 9, size=(32, 32))
    run_shard(listed, target, status=1)
    assert "its videos have changed; add --overwrite" in capsys.readouterr().err
    assert len(hashes_of(target)) == count
    assert run_shard(listed, target, "--shard-size", "1GB", "--overwrite")["shards"] == 1
    assert len(hashes_of(target)) == len(list(target.glob("*.index.json"))) == 1


def test_foreign_shards_are_never_deleted(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = write_tar(tmp_path / "train/mine.tar", {"a.mp4": b"v"})
    for options in ((), ("--overwrite",)):
        run_shard(listed, tmp_path / "train", *options, status=1)
        assert "holds shards (mine.tar) not of this command" in capsys.readouterr().err
    assert foreign.exists()


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
    run_shard(listed, tmp_path / "whole")
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
    for name, content in hashes_of(target).items():
        assert content == hashes_of(tmp_path / "whole")[name]
    report = run_shard(listed, target)
    assert 0 < report["kept"] < report["shards"]
    assert hashes_of(target) == hashes_of(tmp_path / "whole")
    assert not list(target.glob(".*"))  # what the killed process had begun


@pytest.mark.parametrize("place", ["shards", "shards/{split}/*.tar", "shards/train/shard-000000.tar"])
def test_the_names_of_the_classes_go_with_the_shards(listed: Path, tmp_path: Path, place: str) -> None:
    """A run that reads the shards finds them, by a folder and by a pattern."""
    names = '{"jump": 0, "run": 1, "sit": 2}'
    listed.with_name("classes.json").write_text(names)
    run_shard(listed, tmp_path / "shards/train")
    assert (tmp_path / "shards/train/classes.json").read_text() == names
    found = find_class_names("", str(tmp_path / place), 3)
    assert found == ("jump", "run", "sit")


def test_the_names_of_replaced_shards_do_not_stay(listed: Path, tmp_path: Path) -> None:
    target = tmp_path / "train"
    listed.with_name("classes.json").write_text('["jump", "run", "sit"]')
    run_shard(listed, target)
    listed.with_name("classes.json").write_text('["sit", "run", "jump"]')
    run_shard(listed, target, "--overwrite")
    assert (target / "classes.json").read_text() == '["sit", "run", "jump"]'
