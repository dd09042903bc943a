"""docs/FEW_VIDEOS.md: its commands lead from folders to a model; its program writes features."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from slowfast.cli import main as slowfast
from slowfast.cli import probe, run
from tests.support.probing.short import short_trainings
from tests.support.videos import write_video
from vtn.cli import main as vtn

PAGE = (Path(__file__).parents[2] / "docs" / "FEW_VIDEOS.md").read_text(encoding="utf-8")


def test_the_commands_lead_from_folders_to_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for number in range(15):
        class_folder = tmp_path / "videos" / f"class {number % 3}"
        class_folder.mkdir(parents=True, exist_ok=True)
        write_video(class_folder / f"IMG {number}.mp4", 6 + number)
    (tmp_path / "new_videos").mkdir()
    write_video(tmp_path / "new_videos" / "new.mp4", 30)
    section = PAGE.partition("\n## The recipe")[0]
    (tmp_path / "mine.yaml").write_text(re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)[0])
    commands = "".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL)).splitlines()
    assert len(commands) == 9
    for command in commands[:-1]:  # the last one serves the model until it is stopped
        program, *arguments = shlex.split(command)
        assert {"slowfast": slowfast, "vtn": vtn}[program].main(arguments) == 0, command
    assert json.loads((tmp_path / "data" / "classes.json").read_text()) == {f"class {i}": i for i in range(3)}
    assert "\n   1. class " in capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the current folder, in which the page's program has written its files."""
    (program,) = re.findall(r"```python\n# time_series\.py\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "time_series.py", "exec"), {})
    return tmp_path


def overrides(folder: Path) -> list[str]:
    """Returns the changes of the recipe in the page's command for GunPoint."""
    (command,) = re.findall(r"slowfast probe (--cfg SMALL_DATA --splits train .*?)```", PAGE, re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))
    values = words[words.index("TRAIN.DATASET") :]
    return [*values, "NUM_GPUS", "0", "DATA_LOADER.NUM_WORKERS", "0"]


def test_the_recipe_learns_the_shape_of_a_movement(folder: Path) -> None:
    """A linear classifier of temporal statistics is right for 64 % of GunPoint's test series."""
    assert np.load(folder / "basicmotions" / "train0.npy").shape == (19, 60)
    results = ["TEST.SAVE_RESULTS_PATH", "results.npz"]
    assert run.main(["--cfg", "SMALL_DATA", *overrides(folder), *results]) == 0
    with np.load(folder / "output" / "gunpoint" / "results.npz") as scored:
        assert len(scored["labels"]) == 150
        assert (scored["scores"].argmax(axis=1) == scored["labels"]).mean() > 0.85


def test_the_command_of_the_page_searches(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = shlex.split("--splits train --test --candidates 1 --folds 2 --seeds 1 --workers 1")
    with short_trainings():
        assert probe.main(["--cfg", "SMALL_DATA", *options, *overrides(folder)]) == 0
    assert "On the test list, VTN has accuracy" in capsys.readouterr().out
