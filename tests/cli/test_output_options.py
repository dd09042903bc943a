"""Options that name files to write are checked before any work, which may take hours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from slowfast.cli import main as slowfast_main
from slowfast.cli.options import output_file
from vtn.cli import main as vtn_main

SLOWFAST, VTN = slowfast_main.main, vtn_main.main


@pytest.mark.parametrize(
    ("main", "command", "option"),
    [
        (SLOWFAST, "analyze flops --cfg VIT_B_VTN", "--json"),
        (SLOWFAST, "analyze log run", "--output"),
        (SLOWFAST, "analyze folds runs", "--json"),
        (SLOWFAST, "analyze backbones vit_tiny*", "--json"),
        *((SLOWFAST, "analyze predictions a.npz", f"--{name}") for name in ("json", "report", "confusion")),
        (SLOWFAST, "analyze predictions a.npz b.npz", "--output"),
        (SLOWFAST, "prepare make-csv videos", "--output"),
        *((SLOWFAST, "prepare scan videos", f"--{name}") for name in ("clean", "json", "journal")),
        (SLOWFAST, "prepare stats videos", "--plot"),
        *((VTN, "predict model video.mp4", f"--{name}") for name in ("json", "csv", "jsonl")),
        *((VTN, "predict --cfg A --checkpoint B c.mp4", f"--{name}") for name in ("output", "features")),
        (VTN, "explain model video.mp4", "--output"),
        (VTN, "export model --output a.onnx", "--json"),
        (VTN, "export model", "--output"),
    ],
)
def test_a_folder_is_refused_before_the_work(
    main: Callable[[Sequence[str]], int],
    command: str,
    option: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), option, str(tmp_path)])
    assert stopped.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert f" {option}" in message
    assert f"{tmp_path}: is a folder; name a file, such as {tmp_path}/result" in message


@pytest.mark.parametrize(
    "command",
    ["analyze flops --cfg A --json", "analyze predictions a.npz --json", "prepare make-csv videos --output"],
)
def test_a_hyphen_is_no_name_of_a_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        SLOWFAST([*command.split(), "-"])
    assert "-: is not printed here; name a file" in capsys.readouterr().err


def test_the_option_of_a_file_to_write_is_checked(tmp_path: Path) -> None:
    table = output_file(".csv", ".json", standard_output=True)
    for text in ("", "-", str(tmp_path / "new" / "a.csv")):
        assert table(text) == text
    (tmp_path / "file").touch()
    for path, problem in (
        (tmp_path, r"is a folder; name a file, such as .*/result\.csv"),
        (tmp_path / "a.txt", r"must end in \.csv or \.json"),
        (tmp_path / "file" / "a.csv", r"/file is not a folder"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=problem):
            table(str(path))
    os.mkfifo(pipe := tmp_path / "pipe")
    assert output_file()(str(pipe)) == str(pipe)


def test_a_file_in_a_protected_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(argparse.ArgumentTypeError, match="must not be written to; choose another folder"):
        output_file()(str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--output my.onxx", "--output my.onxx: must end in .onnx for one file of --format onnx"),
        ("--output my.onnx --format torch-export", "must end in .pt2 for one file of --format torch-export"),
        ("--output my.pt2 --format torch-export --int8", "--int8: needs --format onnx"),
        ("--output a --parts encoder --split b.csv", "--split: needs frames to scores"),
        ("--output m.pt2", "--format onnx; for this name give --format torch-export"),
        ("--output m.onnx --format torch-export", "--format torch-export; for this name give --format onnx"),
        ("--output {file} --parts encoder", "{file}: is a file; with --parts name a folder"),
    ],
)
def test_options_of_an_export_that_do_not_fit_are_wrong_arguments(
    options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stopped:
        VTN(["export", "model", *options.format(file=file).split()])
    assert stopped.value.code == 2
    assert message.format(file=file) in capsys.readouterr().err
