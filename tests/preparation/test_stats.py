"""Plots of ``slowfast prepare stats``."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from slowfast.cli.prepare import main
from tests.support.preparation.command import prepare
from tests.support.videos import write_video


def test_names_are_escaped_in_a_page(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    name = "<img src=x onerror=alert(1)>&.mp4"
    write_video(tmp_path / "v" / name, 10, ticks=[0, 40, 80, 500, 540, 1200, 1240, 1280, 2000, 2040])
    assert main(["stats", str(tmp_path / "v"), "--plots", str(tmp_path / "p.html")]) == 0
    page = (tmp_path / "p.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;.mp4" in page


@pytest.mark.parametrize("name", ["p.pdf", "p"])
def test_other_formats_of_plots_are_refused_before_the_work(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/a.mp4", 5)
    with pytest.raises(SystemExit, match="2"):
        main(["stats", str(tmp_path / "v"), "--plots", str(tmp_path / name)])
    assert f"{name}: must end in .png or .html" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_stats_and_plots(mixed_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = shutil.copytree(mixed_videos, tmp_path / "videos")
    for plots in ("plots.html", "plots.png"):
        report = prepare("stats", videos / "all.csv", "--prefix", videos, "--plots", tmp_path / plots)
    assert (tmp_path / "plots.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (tmp_path / "plots.html").read_text()
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
