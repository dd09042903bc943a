"""``slowfast prepare shard`` interrupted, or called twice: no video is forgotten, and no shard is mixed."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from slowfast.errors import AnnotationError
from slowfast.preparation import shard as command
from slowfast.preparation.sharding import write
from tests.support.sharding.shards import originals, prepare_shards, read_annotations
from tests.support.videos import write_csv, write_video

VIDEOS = 12


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of videos of two classes that fill shards of three videos."""
    write_video(tmp_path / "0.mp4", 5)
    for i in range(1, VIDEOS):
        shutil.copy(tmp_path / "0.mp4", tmp_path / f"{i}.mp4")
    return write_csv(tmp_path / "train.csv", [(f"{i}.mp4", i % 2) for i in range(VIDEOS)])


def run(listed: Path, *options: str) -> int:
    own = ("--prefix", str(listed.parent), "--keep-order", "--shard-size", "30KB")
    report = ("--json", str(listed.parent / "report.json"))
    return prepare_shards(listed, listed.parent / "out", *own, *report, *options)


def test_a_video_that_was_left_out_before_an_interruption_is_not_forgotten(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shard was finished, but the interruption came before it was recorded."""
    folder = listed.parent
    real_open, real_completed = write._open_unchanged, write.as_completed
    others_finished = threading.Event()

    def vanish(video: Any) -> Any:
        name = Path(video.path).name
        if name == "3.mp4" and Path(video.path).exists():
            (folder / "3.mp4").rename(folder / "away")
        if name == "4.mp4":  # the shard with the missing video is finished after the interruption
            others_finished.wait(10)
        return real_open(video)

    def interrupt(tasks: Any) -> Iterator[Any]:
        for task in real_completed(tasks):
            yield task
            others_finished.set()
            for other in tasks:
                other.exception()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(write, "_open_unchanged", vanish)
        patched.setattr(write, "as_completed", interrupt)
        assert run(listed) == 130
    (folder / "away").rename(folder / "3.mp4")
    assert run(listed) == 0
    report = json.loads((folder / "report.json").read_text())
    found = originals(read_annotations(f"{folder}/out/*.tar", num_classes=2))
    assert sorted(found) == sorted(f"{i}.mp4" for i in range(VIDEOS))
    assert (report["videos"], report["bad"]) == (VIDEOS, [])


def test_recorded_videos_are_not_copied_again(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = write._open_unchanged

    def vanish(video: Any) -> Any:
        if video.path.endswith("/3.mp4"):
            Path(video.path).rename(listed.parent / "away")
        return real(video)

    with monkeypatch.context() as patched:
        patched.setattr(write, "_open_unchanged", vanish)
        assert run(listed) == 0
    (listed.parent / "away").rename(listed.parent / "3.mp4")
    assert run(listed) == 0
    report = json.loads((listed.parent / "report.json").read_text())
    assert report["kept"] == report["shards"]
    assert [Path(bad["path"]).name for bad in report["bad"]] == ["3.mp4"]


def test_the_error_of_a_shard_is_reported_although_other_threads_end_first(
    listed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others stop because of the error, and may have finished before it is noticed."""

    def others_first(tasks: Any) -> list[Any]:
        return sorted(wait(tasks).done, key=lambda task: isinstance(task.exception(), OSError))

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "as_completed", others_first)
    monkeypatch.setattr(write, "update_index", fail)
    assert run(listed, "--workers", "1") == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "Traceback" not in error


def test_a_second_call_into_the_same_folder_is_refused(
    listed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would delete the files that the first one has open."""
    real, statuses = write._write_archive, []

    def call_again(*arguments: Any) -> None:
        if not statuses:
            statuses.append(run(listed))
        real(*arguments)

    monkeypatch.setattr(write, "_write_archive", call_again)
    assert run(listed, "--workers", "1") == 0
    assert statuses == [1]
    assert "out: another process is writing shards there; wait until it has finished" in (
        capsys.readouterr().err
    )
    assert len(read_annotations(f"{listed.parent}/out/*.tar", num_classes=2)) == VIDEOS
    assert not list((listed.parent / "out").glob(".*"))


def test_an_interrupted_overwrite_leaves_no_folder_that_seems_complete(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(listed) == 0
    real, deleted = command.os.unlink, []

    def interrupt(path: str) -> None:
        if str(path).endswith(".tar"):
            if deleted:
                raise KeyboardInterrupt
            deleted.append(path)
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr(command.os, "unlink", interrupt)
        assert run(listed, "--overwrite", "--shard-size", "20KB") == 130
    with pytest.raises(AnnotationError, match="not all of its"):
        read_annotations(f"{listed.parent}/out/*.tar", num_classes=2)
    assert run(listed, "--shard-size", "20KB") == 1  # shards of the earlier call are not kept as new ones
    assert run(listed, "--overwrite", "--shard-size", "20KB") == 0
    assert len(read_annotations(f"{listed.parent}/out/*.tar", num_classes=2)) == VIDEOS
