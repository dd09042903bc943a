"""Preparation of files with unusual names, formats and colours, and of files with transient problems."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import pytest

from slowfast.cli.prepare import main
from slowfast.errors import DecodeError
from slowfast.preparation.file_work.isolated import FileResult
from slowfast.preparation.file_work.video_facts import VideoFacts, probe_video
from slowfast.preparation.file_work.work import WorkOptions, survey
from slowfast.video.decoding import decode
from slowfast.video.pyav_video import PyAVVideo
from tests.support.videos import read_stamps, write_video


def test_a_name_that_is_not_valid_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is scanned, listed and reported, although its name cannot be printed."""
    folder, clean, report = tmp_path / "videos", tmp_path / "clean.csv", tmp_path / "report.json"
    folder.mkdir()
    write_video(folder / os.fsdecode(b"caf\xe9.mp4"), 5)
    (folder / os.fsdecode(b"bad\xe9.mp4")).write_text("no video")
    assert main(["scan", str(folder), "--clean", str(clean), "--json", str(report)]) == 0
    assert "bad\\udce9.mp4: not a video" in capsys.readouterr().out
    assert clean.read_bytes() == b"caf\xe9.mp4\n"
    values = json.loads(report.read_text(errors="surrogateescape"))
    assert [os.fsencode(bad["path"]) for bad in values["bad"]] == [os.fsencode(folder) + b"/bad\xe9.mp4"]


@pytest.mark.parametrize(
    ("problem", "is_transient"),
    [
        ("unreadable", True),
        ("not permitted", True),
        ("memory", True),
        ("crashed", True),
        ("timeout", True),
        ("unexpected", True),
        ("not a video", False),
    ],
)
def test_files_with_transient_problems_are_tried_again(
    problem: str, is_transient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "a.mp4")
    Path(path).write_text("a video")
    outcomes = [
        FileResult[VideoFacts](path, None, problem, "Input/output error"),
        FileResult(path, VideoFacts(path)),
    ]

    def run(task: Any, paths: Sequence[str], **options: Any) -> Iterator[FileResult[VideoFacts]]:
        for _ in paths:
            yield outcomes.pop(0)

    def survey_once() -> str:
        options = WorkOptions(1, 10.0, tmp_path / "journal.jsonl")
        return survey([path], options, decode=True, with_hash=False, description="scan")[0].problem

    monkeypatch.setattr("slowfast.preparation.file_work.work.run_isolated", run)
    assert survey_once() == problem
    assert survey_once() == ("" if is_transient else problem)


def test_a_scan_reports_videos_that_cannot_be_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def reformat(self, *_: object, **__: object) -> None:
            raise av.error.OSError(95, "Operation not supported")

    path = str(write_video(tmp_path / "a.mp4", 5))
    assert probe_video(path, decode=True, with_hash=False).problem == ""
    monkeypatch.setattr("slowfast.video.frame_scaler.VideoReformatter", Refusing)
    with pytest.raises(DecodeError, match="not convertible"):
        probe_video(path, decode=True, with_hash=False)
    assert probe_video(path, decode=False, with_hash=False).problem == ""


def test_a_copy_of_an_avi_has_reliable_times(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/a.avi", 40, codec="mpeg4", size=(128, 128))
    assert main(["resize", str(tmp_path / "in"), str(tmp_path / "out"), "--short-side", "64"]) == 0
    with PyAVVideo(tmp_path / "in/a.avi") as before, PyAVVideo(tmp_path / "out/a.avi") as after:
        assert after.pts is not None
        assert after.times.seconds == pytest.approx(before.times.seconds)
    assert read_stamps(decode(tmp_path / "out/a.avi")) == list(range(40))


def test_unsuitable_formats_are_refused_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = tmp_path / "in", tmp_path / "report.json"
    folder.mkdir()
    write_video(folder / "a.gif", 5, codec="gif", pix_fmt="rgb8")
    write_video(folder / "b.mpg", 5, codec="mpeg2video")
    write_video(folder / "c.WMV", 5, codec="wmv2")
    write_video(folder / "d.mp4", 5)
    assert main(["resize", str(folder), str(tmp_path / "out"), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["problems"] == {"unsuitable format": 3}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["d.mp4"]
    printed = capsys.readouterr().out
    assert (
        "a.gif: unsuitable format (.gif cannot hold H.264; convert the file to .mp4, and change its name"
        in printed
    )
