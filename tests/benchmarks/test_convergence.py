"""The benchmark of optimisers: its record, its rows and its plot, with recorded trainings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.learning import convergence
from benchmarks.support import recorded_steps
from slowfast.config import load_config
from slowfast.config.check import check
from tests.support.code.command_line import parse


@pytest.mark.parametrize("optimizer", list(convergence.OPTIMIZERS))
def test_every_optimiser_is_a_valid_change_of_the_recipes(optimizer: str, tmp_path: Path) -> None:
    changes = [str(item) for pair in convergence.OPTIMIZERS[optimizer].items() for item in pair]
    for case in convergence.CASES.values():
        cfg = load_config(case.recipe, [*changes, "DATA.PATH_TO_DATA_DIR", str(tmp_path)])
        assert not [problem for problem in check(cfg) if "SOLVER" in problem]


def test_each_training_runs_once_and_the_rows_are_means_over_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train", "val"):
        (data / f"{name}.csv").write_text("".join(f"{name}/{video}.mp4 0\n" for video in range(200)))
    commands: list[dict[str, str]] = []

    def write_log(module: str, command: Sequence[str], folder: Path) -> float:
        keys = dict(zip(command[2::2], command[3::2], strict=True))
        commands.append({"module": module, **keys})
        if module == "slowfast.cli.run":
            folder.mkdir(parents=True)
            epochs, seed = int(keys["SOLVER.MAX_EPOCH"]), int(keys["RNG_SEED"])
            lines = [
                {"_type": "train_epoch", "epoch": epoch + 1, "loss": 2.0 * seed / (epoch + 1)}
                for epoch in range(epochs)
            ]
            lines.append({"_type": "val_epoch", "epoch": epochs, "top1_err": 10.0 * seed})
            (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return 1.0

    for module_with_it in (convergence, recorded_steps):
        monkeypatch.setattr(module_with_it, "run_timed", write_log)
    given = ["--data", str(data), "--output", str(tmp_path / "output"), "--seeds", "1", "3"]
    given += ["--cases", "few", "frames", "--optimizers", "adamw", "sgd-1e-3"]
    report = convergence.run(parse(convergence, *given, "--plot", str(tmp_path / "plot.png")))
    modules = [command["module"] for command in commands]
    assert modules.count("slowfast.cli.extract") == 1
    assert modules.count("slowfast.cli.run") == 2 * 2 * 2
    assert (tmp_path / "plot.png").read_bytes()[1:4] == b"PNG"
    row = report.rows[0]
    assert (row["case"], row["optimiser"], row["seeds"]) == ("few", "adamw", 2)
    assert row["first loss"] == 4.0  # of 2 and 6
    assert row["last loss"] == pytest.approx(4.0 / 30)
    assert row["validation of each seed"] == [90.0, 70.0]
    # The few videos have a list of their own, with names relative to the folder of the data set.
    few = [command for command in commands if "lists-few" in command.get("DATA.PATH_TO_DATA_DIR", "")]
    assert len(few) == 4
    assert {command["DATA.PATH_PREFIX"] for command in few} == {str(data)}
    assert len((tmp_path / "output" / "lists-few" / "train.csv").read_text().splitlines()) == 160
    assert len((tmp_path / "output" / "lists-few" / "val.csv").read_text().splitlines()) == 200
    frames = [command for command in commands if command.get("DATA.FEATURES") == ""]
    assert len(frames) == 4

    assert convergence.run(parse(convergence, *given)).rows == report.rows
    assert len(commands) == len(modules)
