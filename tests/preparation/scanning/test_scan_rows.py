"""``slowfast prepare scan`` of lists whose rows are segments, or name one file more than once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from slowfast.cli.prepare import main
from tests.support.videos import write_video


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with two different videos of 0.4 s, and a copy of the first."""
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/0.mp4", 10)
    write_video(tmp_path / "v/1.mp4", 10, size=(48, 48))
    shutil.copy(tmp_path / "v/0.mp4", tmp_path / "v/twin.mp4")
    return tmp_path


def scan(
    folder: Path, rows: list[str], *options: str
) -> tuple[list[str], list[tuple[str, str]], dict[str, int]]:
    """Scans a list; returns the rows of the clean list, (row, problem) of the others, and the counts."""
    (folder / "l.csv").write_text("".join(f"{row}\n" for row in rows))
    arguments = ["scan", str(folder / "l.csv"), "--prefix", str(folder), "--clean", str(folder / "clean.csv")]
    assert main([*arguments, "--json", str(folder / "r.json"), *options]) == 0
    report = json.loads((folder / "r.json").read_text())
    bad = [(bad["row"], bad["problem"]) for bad in report["bad"]]
    counts = {key: report[key] for key in ("videos", "valid", "rows", "valid_rows")}
    return (folder / "clean.csv").read_text().splitlines(), bad, counts


HEADER = "path label start end"


def test_segments_outside_of_their_file_are_reported(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [HEADER, "v/0.mp4 1 0 0.2", "v/0.mp4 1 0.2 0.5", "v/1.mp4 0 0 0.4"]
    wrong = ["v/0.mp4 1 100 200", "v/1.mp4 0 0.3 0.1", "v/1.mp4 0 x 0.1"]
    clean, bad, counts = scan(videos, [*good, *wrong])
    assert clean == good
    assert bad == [(row, "segment") for row in wrong]
    assert counts == {"videos": 2, "valid": 2, "rows": 6, "valid_rows": 3}
    printed = capsys.readouterr().out
    assert "v/0.mp4: segment (starts at 100 s, but the video ends at 0.400 s)" in printed
    assert "start and end must be seconds, 0 <= start < end" in printed
    assert "6 rows, 3 of them valid" in printed


def test_short_segments_are_reported(videos: Path) -> None:
    rows = [HEADER, "v/0.mp4 1 0 0.3", "v/0.mp4 1 0 0.1", "v/1.mp4 0 0.3 9"]
    clean, bad, _ = scan(videos, rows, "--min-seconds", "0.2")
    assert clean == rows[:2]
    assert bad == [(rows[2], "short"), (rows[3], "short")]


def test_two_names_of_a_file_with_different_segments_are_not_duplicates(videos: Path) -> None:
    (videos / "link.mp4").symlink_to("v/0.mp4")
    rows = [HEADER, "v/0.mp4 1 0 0.2", "./v/0.mp4 1 0.2 0.4", "link.mp4 1 0.1 0.3"]
    clean, bad, _ = scan(videos, rows)
    assert (clean, bad) == (rows, [])


def test_rows_of_equal_content_segment_and_label_are_duplicates(videos: Path) -> None:
    rows = [HEADER, "v/0.mp4 1 0 0.2", "./v/0.mp4 1 0.0 0.20", "v/twin.mp4 1 0 0.2", "v/0.mp4 1 0 0.2"]
    clean, bad, counts = scan(videos, rows)
    assert clean == rows[:2]
    assert bad == [(row, "duplicate") for row in rows[2:]]
    assert counts["valid"] == 1


def test_equal_files_with_different_labels_are_a_conflict(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, bad, _ = scan(videos, ["v/0.mp4 0", "v/twin.mp4 1", "v/1.mp4 1"])
    assert clean == ["v/0.mp4 0", "v/1.mp4 1"]
    assert bad == [("v/twin.mp4 1", "label conflict")]
    printed = capsys.readouterr().out
    assert f"same content as {videos}/v/0.mp4, which has the label 0, not 1" in printed


def test_one_file_may_have_several_labels(videos: Path) -> None:
    rows = ["v/0.mp4 0", "v/0.mp4 1"]
    assert scan(videos, rows)[:2] == (rows, [])
