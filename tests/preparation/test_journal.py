"""The journal of work on files: results are kept for the file, settings and content that they are of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slowfast.cli.prepare import main
from slowfast.errors import DataError
from slowfast.preparation.file_work.isolated import run_isolated
from slowfast.preparation.file_work.journal import Journal
from slowfast.preparation.file_work.video_facts import VideoFacts
from slowfast.preparation.file_work.work import WorkOptions, survey
from tests.support.videos import write_csv, write_video


def probe(path: Path, *, decode: bool = True, time_limit: float = 60.0) -> VideoFacts:
    options = WorkOptions(1, time_limit, path.parent / "journal.jsonl")
    return survey([str(path)], options, decode=decode, with_hash=False, description="scan")[0]


def test_a_file_that_changes_during_the_work_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a download that ends while it is probed."""
    whole = write_video(
        tmp_path / "whole.mp4", 60, size=(128, 128), container_options={"movflags": "faststart"}
    ).read_bytes()
    path = tmp_path / "a.mp4"
    path.write_bytes(whole[: len(whole) * 2 // 3])

    def complete(task: Any, paths: Sequence[str], **options: Any) -> Iterator[Any]:
        for outcome in run_isolated(task, paths, **options):
            path.write_bytes(whole)
            yield outcome

    with monkeypatch.context() as downloading:
        downloading.setattr("slowfast.preparation.file_work.work.run_isolated", complete)
        assert probe(path).problem == "truncated"
    assert probe(path).problem == ""


def test_another_time_limit_repeats_nothing(tmp_path: Path, asked: list[str]) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    probe(path)
    probe(path, time_limit=120.0)
    assert asked == ["a.mp4"]


def test_results_of_other_settings_are_kept(tmp_path: Path, asked: list[str]) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    for decode in (True, False, True, False):
        probe(path, decode=decode)
    assert len(asked) == 2


def test_copies_in_several_folders_are_all_kept(tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/a.mp4", 5)
    for target in ("one", "two", "one", "two"):
        assert main(["resize", str(tmp_path / "in"), str(tmp_path / target)]) == 0
    assert len(asked) == 2


def test_a_damaged_copy_is_made_again(tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/a.mp4", 5)
    arguments = ["resize", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main(arguments) == 0
    (tmp_path / "out/a.mp4").write_bytes(b"")
    assert main(arguments) == 0
    assert len(asked) == 2
    assert (tmp_path / "out/a.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    "line",
    [b'{"path": "\xff"}', b'{"path": "a.mp4"}', b"[]", b'{"path": [], "state": 1}', b'{"path":' * 100_000],
)
def test_damaged_lines_are_passed_over(tmp_path: Path, line: bytes, asked: list[str]) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    probe(path)
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + line.replace(b"a.mp4", bytes(path)) + b"\n")
    assert probe(path).frames == 5
    assert len(asked) == 1


@pytest.mark.parametrize(("old", "new"), [(b'"frames": 5, ', b""), (b"a.mp4", b"b.mp4")])
def test_results_without_some_value_or_of_another_path_are_made_again(
    tmp_path: Path, old: bytes, new: bytes, asked: list[str]
) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    found = probe(path)
    journal = tmp_path / "journal.jsonl"
    start, value = journal.read_bytes().split(b'"value": ')
    journal.write_bytes(start + b'"value": ' + value.replace(old, new))
    assert probe(path) == found
    assert len(asked) == 2


def test_a_file_that_is_not_a_journal_is_not_appended_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "a.mp4", 5)
    listed = write_csv(tmp_path / "l.csv", [("a.mp4", 0)])
    before = listed.read_bytes()
    arguments = ["scan", str(listed), "--prefix", str(tmp_path), "--journal"]
    assert main([*arguments, str(listed)]) == 1
    assert "l.csv: is not a journal of this program; choose another --journal" in capsys.readouterr().err
    assert listed.read_bytes() == before
    report = shutil.copy(listed, tmp_path / "report.json")
    Path(report).write_text('{"videos": 1}\n')
    with pytest.raises(DataError, match="is not a journal"):
        Journal(report, {})
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, str(tmp_path)])


def test_a_journal_that_cannot_be_written_is_named_with_the_option_for_another(tmp_path: Path) -> None:
    """By default it is beside the list, and data sets are often read-only."""
    (tmp_path / "data").touch()
    journal = Journal(tmp_path / "data/l.csv.scan.jsonl", {})
    with pytest.raises(DataError, match=r"scan\.jsonl: cannot be written .*; name another .* by --journal"):
        journal.__enter__()
