"""The command line of data preparation: its help and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.cli.prepare import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "none.csv"], "none.csv: cannot be read (No such file or directory)"),
        (["scan", "bad.csv"], "bad.csv, line 2: 'pathonly' is not a path and a label; --separator is ' '"),
        (["scan", "empty"], "empty: contains no video file"),
        (["resize", "data", "data"], "would replace the videos; choose another folder"),
        (["resize", "data", "data/small"], "data/small: is inside data, so that the next call would resize"),
        (["scan", "data/a.mp4"], "data/a.mp4: is a video; give a list of videos, or the folder data for all"),
        (["resize", "data", "link"], "link: is inside data, so that the next call would resize"),
        (
            ["split", "./good.csv", "", "--shares", "good=0.8", "val=0.2"],
            "good.csv: is the list itself and would be overwritten; choose another folder",
        ),
        (
            ["scan", "good.csv", "--clean", "./good.csv"],
            "./good.csv: is the list itself and would be overwritten; name another file as --clean",
        ),
        (["split", "good.csv", "out", "--shares", "a=1", "--group-by", "("], "must be a regular expression"),
        (["split", "good.csv", "out", "--shares", "a=1", "--group-by", "z"], "does not match a.mp4"),
        (["split", "data", "out", "--shares", "a=1"], "without labels; write a list with make-csv"),
        (["make-csv", "empty", "--output", "x.csv"], "contains no class folder"),
    ],
)
def test_errors_name_the_cause_without_a_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.mp4").touch()
    (tmp_path / "link").symlink_to("data/small")
    (tmp_path / "good.csv").write_text("a.mp4 1\n")
    (tmp_path / "bad.csv").write_text("a.mp4 1\npathonly\n")
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert (tmp_path / "good.csv").read_text() == "a.mp4 1\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("split good.csv out --shares train=0.8 val=0.8", "their sum 1"),
        ("split good.csv out --shares train", "--shares train: must be NAME=FRACTION"),
        ("split good.csv out --shares train=nan val=0.2", "fractions must be above 0 and their sum 1"),
        ("split good.csv out --folds 20", "--folds 20: must be at most the number of groups"),
        ("split good.csv out --folds 2 --val-fraction 2", "--val-fraction 2.0: must be above 0"),
        ("make-csv data --dataset ucf --output x.csv", "--dataset ucf: must be one of features, frames,"),
        ("make-csv data --dataset ucf101 --output x.csv", "--num-classes: must be given"),
    ],
)
def test_wrong_options_have_a_status_of_their_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("a.mp4 1\nb.mp4 1\n")
    assert main(arguments.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("resize good.csv out --short-side 0", "argument --short-side: 0: must be 2 or more"),
        ("resize good.csv out --gop 0", "argument --gop: 0: must be 1 or more"),
        ("resize good.csv out --crf -3", "argument --crf: -3: must be 0 or more"),
        ("resize good.csv out --crf 52", "argument --crf: 52: must be 51 or less"),
        ("scan good.csv --time-limit nan", "argument --time-limit: nan: must be above 0"),
        ("scan good.csv --min-seconds nan", "argument --min-seconds: nan: must be 0 or more"),
        ("scan good.csv --min-frames -5", "argument --min-frames: -5: must be 1 or more"),
        ("make-csv data --fold 0 --output x.csv", "argument --fold: 0: must be 1 or more"),
        ("make-csv data --num-classes -2 --output x.csv", "argument --num-classes: -2: must be 1 or more"),
        ("scan good.csv --workers -1", "argument --workers: -1: must be 0 or more"),
    ],
)
def test_numbers_out_of_range_are_not_taken_for_damage_of_the_videos(
    capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    assert message in capsys.readouterr().err


def test_an_unknown_preset_is_not_taken_for_damage_of_the_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["resize", str(tmp_path), str(tmp_path / "out"), "--preset", "quick"])
    assert "--preset: invalid choice: 'quick'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["split", "shard"])
def test_a_wrong_seed_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, message in (
        ("-1", "--seed: -1: must be 0 or more"),
        ("x", "--seed: invalid integer value: 'x'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([command, "good.csv", "out", "--seed", seed])
        assert message in capsys.readouterr().err
