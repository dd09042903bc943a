"""The quickstart's steps: taken once, in a folder of their own, with a remedy where they cannot be."""

import json
from pathlib import Path

import pytest

from slowfast.config import load_config
from slowfast.errors import DataError
from vtn.quickstart.dataset import DatasetSettings
from vtn.quickstart.motion import CLASSES
from vtn.quickstart.run import NOTES, RUNS, Notebook, clear_output, main


def test_the_configuration_suits_the_videos() -> None:
    cfg = load_config("VTN/QUICKSTART")
    assert len(CLASSES) == cfg.MODEL.NUM_CLASSES
    assert not cfg.DATA.RANDOM_FLIP, "a mirror image turns left into right"
    assert cfg.TRAIN.EVAL_FULL_VIDEO
    assert cfg.TRAIN.EVAL_NUM_FRAMES == 8, "the videos' lengths are made for 8 frames"


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_each_run_is_a_valid_configuration(run: object) -> None:
    load_config("VTN/QUICKSTART", run.overrides)  # type: ignore[attr-defined]


def test_a_finished_step_is_not_repeated_and_a_failed_one_is(tmp_path: Path) -> None:
    taken: list[str] = []

    def fail() -> None:
        taken.append("failed")
        raise DataError("no")

    notebook = Notebook(tmp_path, {"data": 1})
    notebook.take_step("first", 1, lambda: taken.append("first"))
    with pytest.raises(DataError):
        notebook.take_step("second", 2, fail)

    again = Notebook(tmp_path, {"data": 1})
    again.take_step("first", 1, lambda: taken.append("first again"))
    again.take_step("second", 2, lambda: taken.append("second"))
    assert taken == ["first", "failed", "second"]
    assert set(again.seconds) == {"first", "second"}


def test_a_folder_of_another_quickstart_is_refused(tmp_path: Path) -> None:
    Notebook(tmp_path, {"data": {"seed": 1}})
    with pytest.raises(DataError, match="another data; start over with --fresh"):
        Notebook(tmp_path, {"data": {"seed": 2}})


def test_fresh_deletes_a_quickstart_and_nothing_else(tmp_path: Path) -> None:
    Notebook(tmp_path, {})
    (tmp_path / "vtn").mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    clear_output(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(DataError, match="holds no quickstart"):
        clear_output(tmp_path)


def test_a_mistake_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / NOTES).write_text(json.dumps({"identity": {"data": DatasetSettings().seed}, "seconds": {}}))
    assert main(["--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "--fresh" in error
    assert "Traceback" not in error
