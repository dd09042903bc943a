"""The whole search on small feature files: report, chosen configuration, stopping and continuing."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.cli import probe as cli
from slowfast.config import load_config
from slowfast.distributed.world import World
from slowfast.engine.run import run
from slowfast.engine.run_lock import FolderInUseError, lock_folder
from slowfast.errors import ConfigError, DataError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.probe.baselines import LINEAR_STATISTICS, MAJORITY
from slowfast.probe.report import ProbeReport
from slowfast.probe.run import ProbeOptions, probe
from slowfast.probe.tasks import ResultFiles
from tests.support.probing.feature_files import FPS, WIDTH, write_ordered_videos
from tests.support.probing.short import short_trainings

GROUP = r"(p\d+)_"
OPTIONS = ProbeOptions(
    splits=("train",), group_by=GROUP, num_folds=2, num_seeds=1, num_candidates=2, workers=1, test=True
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_ordered_videos(folder)
    (folder / "val.csv").write_text((folder / "test.csv").read_text())
    return folder


def keys(videos: Path, output: Path, *changes: Any) -> list[str]:
    own = (
        "TRAIN.DATASET", "features", "TEST.DATASET", "features", "DATA.FEATURES_FPS", FPS,
        "DATA.TARGET_FPS", FPS, "DATA.PATH_TO_DATA_DIR", videos, "MODEL.NUM_CLASSES", 2,
        "VTN.BACKBONE.TOKENS", [1, 1],
        "VTN.BACKBONE.NAME", "precomputed", "VTN.BACKBONE.ARGS", {"feature_dim": WIDTH}, "NUM_GPUS", 0,
        "DATA_LOADER.NUM_WORKERS", 0, "OUTPUT_DIR", output,
    )  # fmt: skip
    return [str(value) for value in (*own, *changes)]


def search(videos: Path, output: Path, *changes: Any, **options: Any) -> ProbeReport:
    cfg = load_config("PRETRAINED_DEMO", keys(videos, output, *changes))
    return probe(cfg, ProbeOptions(**{**vars(OPTIONS), **options}), Interrupt())


@pytest.fixture(scope="module")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ProbeReport]:
    """Returns the folder and the report of a finished search."""
    output = tmp_path_factory.mktemp("probe")
    return output, search(videos, output)


def test_a_model_that_sees_order_beats_the_linear_classifiers(finished: tuple[Path, ProbeReport]) -> None:
    _, report = finished
    by_name = {row.name: row for row in reversed(report.rows)}
    assert by_name[LINEAR_STATISTICS].interval.value < 0.75
    assert by_name["VTN"].interval.value > 0.9
    assert by_name["VTN"].test is not None
    assert by_name["VTN"].test.value > 0.9
    (comparison,) = [c for c in report.comparisons if c.family == "VTN" and not c.on_test]
    assert comparison.difference.low > 0
    assert "VTN beats it by" in comparison.sentence("accuracy")


def write_groups(videos: Path, folder: Path, *splits: str) -> tuple[Any, ...]:
    """Writes lists that have a column of groups for these splits; returns the keys that name them."""
    for split in ("train", "test"):
        rows = [line.split() for line in (videos / f"{split}.csv").read_text().splitlines()]
        table = [["path", "label", "group"], *([*row, Path(row[0]).name.split("_")[0]] for row in rows)]
        columns = 3 if split in splits else 2
        lines = [",".join(row[:columns]) for row in table]
        (folder / f"{split}.csv").write_text("\n".join(lines))
    return ("DATA.PATH_TO_DATA_DIR", folder, "DATA.PATH_LABEL_SEPARATOR", ",")


def test_groups_are_those_of_the_lists_where_no_option_names_them(videos: Path, tmp_path: Path) -> None:
    """Otherwise a fold would test on clips of a video that it learns from, and nothing would tell."""
    changes = write_groups(videos, tmp_path, "train", "test")
    with short_trainings():
        search(videos, tmp_path / "output", *changes, group_by="", num_candidates=1, test=False)
    assert json.loads((tmp_path / "output" / "probe.json").read_text())["data"]["groups"] == 20

    lines = (tmp_path / "test.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",p0"]))
    with pytest.raises(DataError, match="shares 1 groups with training: p0"):
        search(videos, tmp_path / "other", *changes, group_by="")


@pytest.mark.parametrize("without", ["train", "test"])
def test_groups_of_some_lists_only_are_refused(videos: Path, tmp_path: Path, without: str) -> None:
    """Otherwise the paths of one list would never equal the groups of the other, whoever is in both."""
    changes = write_groups(videos, tmp_path, "test" if without == "train" else "train")
    message = f"the list of the split '{without}': must have a column of groups"
    with pytest.raises(DataError, match=message):
        search(videos, tmp_path / "output", *changes, group_by="")
    with pytest.raises(DataError, match="--folds 99"):  # --group-by names the groups of all lists
        search(videos, tmp_path / "output", *changes, num_folds=99)


def test_the_report_is_written_as_json_and_page(finished: tuple[Path, ProbeReport]) -> None:
    folder, report = finished
    content = json.loads((folder / "probe.json").read_text())
    assert content["data"] == {
        "videos": 40, "groups": 20, "classes": 2, "folds": 2, "test videos": 8, "candidates": 2,
    }  # fmt: skip
    assert [row["name"] for row in content["rows"]] == [row.name for row in report.rows]
    page = (folder / "probe.html").read_text()
    assert all(sentence.split(";")[0].split("'")[0] in page for sentence in report.sentences())
    assert "http" not in page.replace("http-equiv", "")
    table = report.table().splitlines()
    assert len(table) == 1 + len(report.rows)
    assert MAJORITY in table[1]


def test_the_chosen_configuration_trains(finished: tuple[Path, ProbeReport]) -> None:
    folder, _ = finished
    short = ["SOLVER.MAX_EPOCH", "40", "SOLVER.WARMUP_EPOCHS", "1", "TRAIN.EVAL_PERIOD", "40"]
    cfg = load_config(folder / "chosen.yaml", [*short, "TEST.SAVE_RESULTS_PATH", "results.npz"])
    assert run(cfg, "") == 0
    with np.load(Path(cfg.OUTPUT_DIR) / "results.npz") as results:
        assert (results["scores"].argmax(axis=1) == results["labels"]).mean() > 0.8


def test_a_second_start_reads_all_results(finished: tuple[Path, ProbeReport], videos: Path) -> None:
    folder, report = finished
    again = search(videos, folder)
    assert again.trainings == 0
    assert again.rows == report.rows


@pytest.mark.faults  # two processes import everything
def test_several_processes_find_the_same(
    finished: tuple[Path, ProbeReport], videos: Path, tmp_path: Path
) -> None:
    _, report = finished
    own = search(videos, tmp_path, workers=2, num_candidates=1, test=False)
    intervals = {(row.name, row.setting): row.interval for row in report.rows}
    assert {(row.name, row.setting): row.interval for row in own.rows}.items() <= intervals.items()
    assert not list(tmp_path.glob("*.pt"))  # the features that the processes shared


def test_a_stopped_search_keeps_what_is_finished(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = load_config("PRETRAINED_DEMO", keys(videos, tmp_path))
    interrupt = Interrupt()
    write = ResultFiles.write

    def write_and_stop(files: ResultFiles, task: Any, result: Any) -> None:
        write(files, task, result)
        interrupt.request(signal.SIGINT)

    monkeypatch.setattr(ResultFiles, "write", write_and_stop)
    with short_trainings(), pytest.raises(Interrupted):
        probe(cfg, replace(OPTIONS, test=False, num_candidates=1), interrupt)
    assert len(list((tmp_path / "trainings").iterdir())) == 1
    monkeypatch.undo()
    with short_trainings():
        report = search(videos, tmp_path, test=False, num_candidates=1)
    assert report.trainings > 1
    assert len(list((tmp_path / "trainings").iterdir())) == report.trainings + 1


def test_a_folder_with_a_search_of_other_data_is_refused(
    finished: tuple[Path, ProbeReport], videos: Path
) -> None:
    folder, _ = finished
    with pytest.raises(ConfigError, match="its search has other videos, groups and folds"):
        search(videos, folder, num_folds=4)
    with pytest.raises(ConfigError, match="its search has other configuration"):
        search(videos, folder, "SOLVER.BETAS", [0.8, 0.9])


def test_a_folder_with_a_search_of_other_features_is_refused(tmp_path: Path) -> None:
    """Files of other programs say nothing of their origin, so that only their content tells."""
    write_ordered_videos(tmp_path, num_videos=8, test_videos=0)
    fast = {"test": False, "num_candidates": 1}
    with short_trainings():
        search(tmp_path, tmp_path / "output", **fast)
    features = np.load(tmp_path / "p3_7.npy")
    features[0, 0] += 1
    np.save(tmp_path / "p3_7.npy", features)
    with pytest.raises(ConfigError, match="its search has other features"):
        search(tmp_path, tmp_path / "output", **fast)


def test_a_second_search_in_the_same_folder_is_refused(videos: Path, tmp_path: Path) -> None:
    """Both would write ``rows.pt``, and the first to end would delete the features of the other."""
    with lock_folder(tmp_path), pytest.raises(FolderInUseError, match="another run is writing there"):
        search(videos, tmp_path, num_candidates=1)


def test_a_test_list_that_shares_groups_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the test list shares 4 groups with training"):
        search(videos, tmp_path, splits=("train", "val"))


def test_the_command_prints_table_and_conclusion(
    finished: tuple[Path, ProbeReport], videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = finished
    arguments = ["--cfg", "PRETRAINED_DEMO", "--splits", "train", "--group-by", GROUP, "--folds", "2"]
    arguments += ["--seeds", "1", "--candidates", "2", "--workers", "1", "--test", *keys(videos, folder)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert MAJORITY in printed
    assert "VTN beats it by" in printed
    assert f"best setting: {folder}/chosen.yaml" in printed


def test_an_output_folder_that_cannot_be_made_is_refused(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cfg", "PRETRAINED_DEMO", *keys(videos, videos / "test.csv/probe")]
    assert cli.main(arguments) == 2
    assert "test.csv is not a folder; choose another folder" in capsys.readouterr().err


def test_a_model_without_candidates_is_refused(videos: Path, tmp_path: Path) -> None:
    cfg = load_config("SLOW_8x8_R50", ["TRAIN.ENABLE", "False", "TEST.ENABLE", "False"])
    with pytest.raises(ConfigError, match="must be a model that a project has candidates for"):
        probe(cfg, OPTIONS, Interrupt())


@pytest.mark.parametrize("tuning", [("FROZEN", True), ("FROZEN", False), ("LEARNING_NORMS", True)])
def test_a_cache_of_a_random_backbone_is_recognised(
    colour_videos: Path, tmp_path: Path, tuning: tuple[str, bool]
) -> None:
    """Its weights are those of the seed, as in the extraction; the chosen configuration freezes them."""
    torch.rand(3)  # whatever this process has drawn before
    shallow = ("VTN.BACKBONE.NAME", "shallow_conv", "VTN.BACKBONE.ARGS", {"image_size": 32, "width": 4})
    size = ("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "DATA.TRAIN_JITTER_SCALES", [32, 32])
    own = (
        "DATA.PATH_TO_DATA_DIR", colour_videos, "DATA.FEATURES", tmp_path / "cache", "NUM_GPUS", 0,
        "OUTPUT_DIR", tmp_path / "probe", "MODEL.NUM_CLASSES", 3, "VTN.BACKBONE.TOKENS", [1, 1],
        "VTN.BACKBONE.PRETRAINED", False, "DATA_LOADER.NUM_WORKERS", 0, *shallow, *size,
        f"VTN.BACKBONE.{tuning[0]}", tuning[1],
    )  # fmt: skip
    cfg = load_config("PRETRAINED_DEMO", [str(value) for value in own])
    extract_features(cfg, World(), Interrupt(), ExtractionRequest())
    with short_trainings():
        report = probe(cfg, replace(OPTIONS, group_by="", test=False, num_candidates=1), Interrupt())
    assert {row.name for row in report.rows} >= {MAJORITY, LINEAR_STATISTICS}
    short = ("SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0", "TEST.ENABLE", "False")
    assert run(load_config(tmp_path / "probe" / "chosen.yaml", short), "") == 0
