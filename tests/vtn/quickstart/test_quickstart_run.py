"""The steps of the quickstart: each runs once, errors name a remedy, and a prediction is explained."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from slowfast.config import load_config
from slowfast.engine.prediction_file import save_predictions
from slowfast.errors import CheckpointError, DataError
from tests.support.pages.predictions import make_predictions
from tests.support.tiny import tiny_config
from tests.support.tiny_models import CLASS_NAMES, SMALL_VTN, trained_checkpoint
from tests.support.videos import write_video
from vtn.cli.quickstart import main
from vtn.quickstart.dataset import DatasetSettings
from vtn.quickstart.explained import explain_quickstart, faithfulness_table, read_faithfulness
from vtn.quickstart.motion import CLASSES
from vtn.quickstart.run import clear_output
from vtn.quickstart.runs import EXPLANATION, PREDICTIONS, PRODUCTS, RECORD, RUNS, Run, StepRecord


def test_the_configuration_fits_the_videos() -> None:
    cfg = load_config("VTN/QUICKSTART")
    assert len(CLASSES) == cfg.MODEL.NUM_CLASSES
    assert not cfg.DATA.RANDOM_FLIP, "a mirror image exchanges the classes left and right"
    assert cfg.TRAIN.EVAL_FULL_VIDEO
    assert cfg.TRAIN.EVAL_NUM_FRAMES == 8, "the numbers of frames per video are chosen for 8 frames"


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_each_run_is_a_valid_configuration(run: Run) -> None:
    cfg = load_config("VTN/QUICKSTART", run.overrides)
    for key, value in zip(run.overrides[::2], run.overrides[1::2], strict=True):
        section, name = key.split(".")
        assert str(cfg[section][name]) == value


def test_a_failed_step_is_repeated_and_a_finished_one_is_not(tmp_path: Path) -> None:
    calls: list[str] = []

    def fail() -> None:
        calls.append("failed")
        raise DataError("no")

    record = StepRecord(tmp_path, {"data": 1})
    record.run_step("first", 1, lambda: calls.append("first"))
    with pytest.raises(DataError):
        record.run_step("second", 2, fail)

    again = StepRecord(tmp_path, {"data": 1})
    again.run_step("first", 1, lambda: calls.append("first again"))
    again.run_step("second", 2, lambda: calls.append("second"))
    assert calls == ["first", "failed", "second"]
    assert set(again.seconds) == {"first", "second"}


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    StepRecord(tmp_path, {"data": {"seed": 1}})
    with pytest.raises(DataError, match="another data; start over with --fresh"):
        StepRecord(tmp_path, {"data": {"seed": 2}})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"identity": {"da'])
def test_a_damaged_record_names_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(DataError, match="another data; start over with --fresh"):
        StepRecord(tmp_path, {"data": {"seed": 1}})


def test_fresh_deletes_a_quickstart_and_nothing_else(tmp_path: Path) -> None:
    StepRecord(tmp_path, {})
    (tmp_path / "vtn").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    clear_output(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(DataError, match="holds files but not a quickstart"):
        clear_output(tmp_path)


def test_an_error_is_printed_without_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / RECORD).write_text(json.dumps({"identity": {"data": DatasetSettings().seed}, "seconds": {}}))
    assert main(["--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "--fresh" in error
    assert "Traceback" not in error


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/output")

    monkeypatch.setattr("vtn.quickstart.run.StepRecord", refuse)
    assert main(["--output", str(tmp_path)]) == 1
    assert "cannot be written (Permission denied: /output); choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
@pytest.mark.parametrize("below", ["", "quickstart"])
def test_a_file_in_place_of_the_folder_is_named(
    fresh: list[str], below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert main(["--output", str(file / below), *fresh]) == 1
    assert f"{file / below}: cannot be written (" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_page_and_a_table_are_made(tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{number}.mp4", 8 + number, fps=10) for number in range(3)]
    cfg = tiny_config(tmp_path, tmp_path / "vtn", *SMALL_VTN, "TRAIN.ENABLE", False, "DATA.TARGET_FPS", 10)
    paths = [str(path) for path in videos]
    predictions = make_predictions(np.eye(3)[[1, 1, 1]], [0, 1, 2], CLASS_NAMES, paths=paths)
    save_predictions(tmp_path / "vtn" / PREDICTIONS, predictions)
    with pytest.raises(CheckpointError, match="has no checkpoint; start over with --fresh"):
        explain_quickstart(tmp_path)
    trained_checkpoint(cfg, tmp_path / "vtn")
    explain_quickstart(tmp_path)
    # The page is about the first video that is predicted correctly.
    values = json.loads((tmp_path / EXPLANATION).with_suffix(".json").read_text(encoding="utf-8"))
    assert values["video"] == str(videos[1])
    written = {path.name for path in tmp_path.iterdir()} - {path.name for path in videos}
    assert written <= {*PRODUCTS}
    content = read_faithfulness(tmp_path)
    assert content["videos"] == 3
    table = faithfulness_table(content)
    assert [row[0] for row in table.rows] == list(content["rankings"])
    assert len({len(row) for row in (table.header, *table.rows)}) == 1
    assert "over 3 test videos" in table.caption
