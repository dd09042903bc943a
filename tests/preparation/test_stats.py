"""Plots of ``slowfast prepare stats``."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from slowfast.cli.prepare import main
from slowfast.preparation.file_work.video_facts import VideoFacts
from slowfast.preparation.stats import summarize_videos
from tests.support.preparation.command import prepare
from tests.support.videos import write_video


@pytest.mark.parametrize("name", ["p.html", "p"])
def test_other_formats_of_plots_are_refused_before_the_work(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/a.mp4", 5)
    with pytest.raises(SystemExit, match="2"):
        main(["stats", str(tmp_path / "v"), "--plot", str(tmp_path / name)])
    assert f"{name}: must end in .png, .svg or .pdf" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_stats_have_plots(mixed_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = shutil.copytree(mixed_videos, tmp_path / "videos")
    report = prepare("stats", videos / "all.csv", "--prefix", videos, "--plot", tmp_path / "plots.png")
    assert (tmp_path / "plots.png").read_bytes().startswith(b"\x89PNG")
    assert report["codecs"] == {"h264": 5, "vp8": 1}
    assert report["problems"] == {"missing": 1, "truncated": 1, "empty": 1, "not a video": 1}
    assert report["frames"]["least"] == 3
    assert report["fps"]["median"] == pytest.approx(25, abs=0.1)
    assert len(report["classes"]) == 9
    printed = capsys.readouterr().out
    assert "9 classes with 1 video each" in printed
    assert re.search(r"^9 videos, 7\.56 seconds, \d\d\.\d+ kB$", printed, re.MULTILINE)  # encoders differ
    assert re.search(r"^ +min +25 % +median +75 % +max\nduration, s ", printed, re.MULTILINE)
    assert os.path.exists(videos / "all.csv.stats.jsonl")


def test_large_values_are_written_without_powers_of_ten() -> None:
    report = summarize_videos([VideoFacts("a.mp4", 1, frames=21_600, seconds=10_800.0, fps=2.0)], [])
    assert re.search(r"^frames +(21600 *){5}$", "\n".join(report.lines), re.MULTILINE)


def test_a_codec_has_its_own_name_not_that_of_its_decoder(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", 5, codec="libsvtav1", preset="13")
    assert prepare("stats", tmp_path)["codecs"] == {"av1": 1}
