"""The study of the recipe SMALL_DATA: its settings, its divisions, and a complete run on small features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.learning import small_data
from benchmarks.support.small_data import sets
from benchmarks.support.small_data.settings import FURTHER, KINDS, PARTS, PLAIN, RECIPE, settings
from slowfast.config import load_config
from slowfast.config.check import check
from slowfast.config.values import value_of
from slowfast.errors import DataError
from slowfast.probe.tasks import Runner
from tests.support.code.command_line import parse

CLASSES, ROWS, WIDTH = 2, 12, 10


def test_every_setting_is_valid_and_differs_from_the_others() -> None:
    cfg = load_config(RECIPE, ["DATA.FEATURES", "cache"])
    chosen = settings(KINDS)
    assert [problem for setting in chosen for problem in check(setting.candidate.apply(cfg))] == []
    # Equal configurations would be the same row twice.
    dumps = {setting.candidate.apply(cfg).dump() for setting in chosen}
    assert len(dumps) == len(chosen)
    assert sum(setting.base == PLAIN for setting in chosen) == len(PARTS) - 1 + len(FURTHER) - 1


def test_settings_are_chosen_by_their_names() -> None:
    names = [setting.name for setting in settings(["parts"], ["STANDARDIZE", "POOLING"])]
    parts = ("VTN.INPUT.STANDARDIZE", "VTN.HEAD.POOLING")
    assert names == [RECIPE, PLAIN, *(f"{sign} {part}" for sign in "−+" for part in parts)]


def test_a_part_is_what_the_recipe_has_and_the_plain_recipe_has_not() -> None:
    cfg = load_config(RECIPE)
    found = {(setting.base, setting.name): setting.candidate.apply(cfg) for setting in settings(["parts"])}
    for name, changes in PARTS.items():
        alone = found.get((PLAIN, f"+ {name}"), cfg)
        for key, value in changes.items():
            assert value_of(found[RECIPE, PLAIN], key) == value_of(found[RECIPE, f"− {name}"], key) == value
            assert value_of(cfg, key) == value_of(alone, key) != value


def test_the_held_out_videos_are_the_same_in_all_draws_and_never_trained_on() -> None:
    labels, paths = [video % 4 for video in range(200)], [f"{video}.mp4" for video in range(200)]
    first, part = sets.divide_training_list(labels, paths, 40, 80, 0)
    second, other = sets.divide_training_list(labels, paths, 40, 80, 1)
    assert first == second
    assert part != other
    assert len(part) == len(other) == 40
    assert not set(first) & {*part, *other}
    assert np.bincount([labels[video] for video in part]).tolist() == [10] * 4
    with pytest.raises(DataError, match="--held-out 180: must be at most 160"):
        sets.divide_training_list(labels, paths, 40, 180, 0)


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of results, with files of features whose class is the sign of their mean."""
    kind = sets.TimeSeries("load_steps", 1, CLASSES, folds=2)
    monkeypatch.setattr(sets, "SETS", {"steps": kind})
    monkeypatch.setattr(small_data, "SETS", {"steps": kind})
    folder = tmp_path / "output" / "steps"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 6)):
        lines = []
        for video in range(count):
            label = video % CLASSES
            rows = rng.normal(3 * label - 1.5, 0.5, (ROWS, WIDTH))
            np.save(folder / f"{split}{video}.npy", rows.astype(np.float32))
            lines.append(f"{folder}/{split}{video}.npy {label}\n")
        (folder / f"{split}.csv").write_text("".join(lines))
    return tmp_path / "output"


def test_a_complete_run_continues_and_compares_on_the_same_videos(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["SOLVER.MAX_EPOCH", "2", "SOLVER.WARMUP_EPOCHS", "0"]
    given = ["--draws", "2", "--workers", "1", "--output", str(features), "--kinds"]
    args = parse(small_data, *given, "--opts", *short)
    args.sets = ["steps"]
    report = small_data.run(args)
    rows = {row["setting"]: row for row in report.rows}
    assert rows["linear, mean"]["accuracy of each draw"] == [100.0, 100.0]
    recipe = rows[RECIPE]
    assert recipe["videos"] == 16
    assert recipe["against"] == "linear, mean"
    assert recipe["difference, low, high"][0] == pytest.approx(recipe["accuracy, %"] - 100)
    assert recipe["difference of each draw"] == [value - 100 for value in recipe["accuracy of each draw"]]
    assert report.rows == small_data.run(args).rows

    def refuse(*_: object) -> None:
        raise AssertionError("finished trainings are read from files")

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_run_all", lambda self, tasks: iter(refuse() for _ in tasks))
        assert report.rows == small_data.run(args).rows

    args.test = True
    (tested,) = [row for row in small_data.run(args).rows if row["setting"] == RECIPE]
    assert tested["videos"] == 6
    args.opts = [*short, "SOLVER.BASE_LR", "0.1"]
    with pytest.raises(DataError, match="another opts"):
        small_data.run(args)


def test_differences_are_of_means_over_draws() -> None:
    one = small_data.Hits(np.array([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]]))
    other = small_data.Hits(np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    assert one.accuracies.tolist() == [75.0, 50.0]
    difference = one.minus(other)
    assert difference.value == pytest.approx(0.625 - 0.25)
    assert difference.low < difference.value < difference.high
