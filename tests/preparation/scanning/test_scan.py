"""``slowfast prepare scan``: bad videos by their reasons, and continued scans."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.preparation.command import prepare
from tests.support.videos import write_video

BAD = {
    "corrupt.mp4": "corrupt",
    "cut.mkv": "truncated",
    "empty.mp4": "empty",
    "missing.mp4": "missing",
    "short.mp4": "short",
    "text.mp4": "not a video",
    "twin.mp4": "label conflict",
}


def test_scan_lists_bad_videos_with_reasons_and_writes_a_clean_list(
    mixed_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = mixed_videos / "clean.csv"
    options = ("--prefix", mixed_videos, "--clean", clean, "--min-seconds", "0.5")
    report = prepare("scan", mixed_videos / "all.csv", *options)
    assert {Path(bad["path"]).name: bad["problem"] for bad in report["bad"]} == BAD
    assert (report["videos"], report["valid"]) == (9, 2)
    assert clean.read_text() == "also good.webm 0\ngood.mp4 4\n"
    assert "good.mp4: label conflict" not in (text := capsys.readouterr().out)
    assert f"{mixed_videos / 'twin.mp4'}: label conflict (same content as {mixed_videos / 'good.mp4'}" in text
    assert f"{mixed_videos / 'text.mp4'}: not a video (Invalid data found" in text
    assert "[Errno" not in text
    facts = {Path(fact["path"]).name: fact for fact in report["facts"]}["good.mp4"]
    assert (facts["frames"], facts["width"], facts["codec"]) == (30, 64, "h264")
    assert facts["seconds"] == pytest.approx(1.2)


def test_scan_continues_where_it_was_interrupted(
    mixed_videos: Path, tmp_path: Path, asked: list[str]
) -> None:
    folder = shutil.copytree(mixed_videos, tmp_path / "videos")
    first = prepare("scan", folder)
    asked.clear()
    journal = tmp_path / "videos.scan.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])  # killed while it wrote the last line
    write_video(folder / "text.mp4", 30)  # changed since
    second = prepare("scan", folder)
    assert set(asked) == {Path(json.loads(lines[-1])["path"]).name, "text.mp4"}
    asked.clear()
    assert second["valid"] == first["valid"] + 1
    prepare("scan", folder, "--quick")  # other settings: all files are checked again
    assert len(asked) == 8


@pytest.mark.parametrize("command", ["scan", "stats"])
def test_videos_of_variable_frame_rate_are_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "steady.mp4", 20)
    write_video(folder / "rounded.mkv", 30, fps=Fraction(30000, 1001))  # times in whole milliseconds
    pause = [40 * i for i in range(10)] + [5000 + 40 * i for i in range(10)]
    write_video(folder / "pause.mp4", 20, ticks=pause)
    report = prepare(command, folder)
    printed = capsys.readouterr().out
    assert "variable frame rate, sampled by time: 1" in printed
    assert f"  {folder}/pause.mp4" in printed
    if command == "stats":
        assert report["variable_rate"] == [f"{folder}/pause.mp4"]


def test_a_clean_list_in_another_folder_gets_the_names_of_the_classes(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 8)
    (tmp_path / "all.csv").write_text(f"{tmp_path / 'a.mp4'} 0\n")
    (tmp_path / "classes.json").write_text('{"jump": 0}')
    prepare("scan", tmp_path / "all.csv", "--clean", tmp_path / "clean/train.csv")
    assert (tmp_path / "clean/classes.json").read_text() == '{"jump": 0}'
