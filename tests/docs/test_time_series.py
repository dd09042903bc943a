"""GETTING_STARTED.md: the page's program writes time series as features, on which SMALL_DATA trains."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from slowfast.cli import probe, run
from tests.support.probing.short import short_trainings

PAGE = (Path(__file__).parents[2] / "GETTING_STARTED.md").read_text(encoding="utf-8")


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
