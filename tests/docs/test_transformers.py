"""GETTING_STARTED.md and docs/TRANSFORMERS.md: programs around a published model run as they are written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import vtn
from tests.support.videos import write_csv, write_video

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "GETTING_STARTED.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "TRANSFORMERS.md").read_text(encoding="utf-8")
PIPELINE, TRAINING, LOOP = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the current folder, with the published model, the video and the list that the page names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    model: Any = vtn.create_model("QUICKSTART")
    model.save_pretrained("published/MOTION")
    videos = [write_video(tmp_path / f"{i}.mp4", 5 + 8 * i, size=(64, 80)) for i in range(3)]
    write_csv(tmp_path / "train.csv", [(video, i) for i, video in enumerate(videos)])
    videos[2].rename("my_video.mp4")
    write_video(videos[2], 40)
    return tmp_path


@pytest.mark.parametrize(
    "start", ["predictor = vtn.Predictor", "stream = vtn.VideoStream", "model = vtn.VTN"]
)
def test_the_programs_in_python_run(start: str, folder: Path) -> None:
    """Of the first one without its last lines, which follow a camera."""
    for name in ("a.mp4", "b.mp4", "film.mp4"):
        shutil.copy(folder / "my_video.mp4", folder / name)
    program = next(p for p in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if start in p)
    exec(compile(program.partition("for update in predictor.follow")[0], "program.py", "exec"), {})


def test_the_example_of_the_pipeline_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PIPELINE, "pipeline.py", "exec"), {})
    assert "'score': 0." in capsys.readouterr().out


def test_the_training_in_a_loop_of_your_own_runs(folder: Path) -> None:
    (folder / "my_data").mkdir()
    shutil.copy("train.csv", "my_data")
    exec(compile(LOOP, "loop.py", "exec"), {})
    mine = vtn.Predictor("published/MINE", device="cpu")
    assert [*mine.class_names] == ["move right", "move left", "move down"]
    assert mine("my_video.mp4").scores.shape == (3,)


def test_the_training_by_the_trainer_runs(folder: Path) -> None:
    program = TRAINING.replace("max_steps=100", "max_steps=2, report_to=[]")
    assert program != TRAINING
    names: dict[str, Any] = {}
    exec(compile(program, "training.py", "exec"), names)
    mine = vtn.Predictor("published/MINE", device="cpu")
    assert [*mine.class_names] == ["move right", "move left", "move down"]
    assert mine("my_video.mp4").scores.shape == (3,)
    adapted = re.findall(r"`(peft\.get_peft_model\(.*?\))` adds", PAGE, re.DOTALL)
    peft = pytest.importorskip("peft")
    model = eval(adapted[0], {"peft": peft, "model": names["model"]})
    assert any("lora_" in name for name, _ in model.named_parameters())
