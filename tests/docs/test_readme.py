"""README.md shows what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vtn.inference.prediction import Prediction
from vtn.inference.windows import Timeline

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_example_of_scores_over_time_runs() -> None:
    (shown,) = re.findall(r"^(film\.mp4: .+?)\n  …$", README, re.DOTALL | re.MULTILINE)
    names = ["recede", "move left", "move up", "approach", "disappear", "move right"]
    bests = [(0, 0.994), (1, 0.999), (2, 0.998), (3, 0.985), (3, 0.985), (4, 0.998), (5, 0.998), (5, 0.997)]
    windows = np.zeros((8, 6))
    for row, (index, score) in zip(windows, bests, strict=True):
        row[index] = score
    timeline = Timeline(np.arange(8.0), np.arange(8.0) + 1, windows)
    whole = np.array([0.942, 0.001, 0.002, 0.003, 0, 0.052])
    printed = Prediction("film.mp4", 8.0, 64, names, whole, timeline).describe(top=2)
    assert printed.startswith(f"{shown}\n")
