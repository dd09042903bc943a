"""Examples in docstrings: the names that users meet first have one, and every example gives what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

from tests.support.videos import write_video

ROOT = Path(__file__).parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

PUBLIC_NAMES = (
    "slowfast.config.load:load_config",
    "slowfast.registry:Registry",
    "slowfast.models.build:build_model",
    "slowfast.datasets.loading.samplers:TrainSampler",
    "slowfast.datasets.views.sampling:view_clip",
    "slowfast.video.decoding:open_video",
    "slowfast.video.decoding:decode",
    "slowfast.video.frame_times:FrameTimes",
    "vtn.model:VTN",
    "vtn.factory:create_model",
    "vtn.inference.windows:score_windows",
    "vtn.inference.stream:VideoStream",
    "vtn.predictor.predictor:Predictor",
)


def _modules_with_examples() -> list[str]:
    """Returns the dotted names of all modules whose source shows an interpreter prompt."""
    names = []
    for folder in (ROOT / "slowfast", ROOT / "projects" / "vtn" / "vtn"):
        for path in sorted(folder.rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(folder.parent).with_suffix("").parts
                names.append(".".join(part for part in parts if part != "__init__"))
    return names


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_a_public_name_has_an_example(name: str) -> None:
    tests = doctest.DocTestFinder().find(pkgutil.resolve_name(name), name)
    assert any(test.examples for test in tests), f"{name}: has no example in its docstring"


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples_give_what_they_show(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # files that an example reads or writes
    write_video("tiny.mp4", 20, fps=10, size=(48, 64))
    results = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert results.attempted > 0
    assert results.failed == 0, capsys.readouterr().out
