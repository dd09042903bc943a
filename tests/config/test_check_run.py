"""Checks before a run: data, weights and folders must exist, and batches must be divisible."""

from __future__ import annotations

from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from slowfast.config.check import check
from slowfast.config.check_training import check_batch_sizes
from tests.support.configs import set_keys


class TestRun:
    def test_a_model_without_a_run_needs_no_data(self, cfg: CfgNode) -> None:
        cfg.DATA.PATH_TO_DATA_DIR = ""
        assert check(cfg) == []
        (problem,) = check(cfg, for_run=True)
        assert problem.startswith("DATA.PATH_TO_DATA_DIR = ''")

    def test_a_training_of_one_class_has_nothing_to_learn(self, cfg: CfgNode) -> None:
        """Its accuracy is 100 % from the first step on; features are extracted with any number."""
        cfg.MODEL.NUM_CLASSES = 1
        assert check(cfg) == []
        (problem,) = check(cfg, for_run=True)
        assert problem.startswith("MODEL.NUM_CLASSES = 1: must be 2 or more")
        set_keys(cfg, DATA__MULTI_LABEL=True, MODEL__LOSS_FUNC="bce_logit", MODEL__HEAD_ACT="sigmoid")
        assert check(cfg, for_run=True) == []

    def test_a_data_folder_must_exist(self, cfg: CfgNode) -> None:
        cfg.DATA.PATH_TO_DATA_DIR = "/no/such/folder"
        assert "does not exist" in check(cfg, for_run=True)[0]

    @pytest.mark.parametrize(
        "key", ["DATA.PATH_TO_DATA_DIR", "DATA.CLASS_NAMES", "TRAIN.CHECKPOINT_FILE_PATH", "DATA.FEATURES"]
    )
    def test_a_path_that_the_system_refuses_is_a_problem(self, cfg: CfgNode, key: str) -> None:
        """``pathlib`` raises an error of the system for too long names before Python 3.14."""
        set_keys(cfg, **{key.replace(".", "__"): "x" * 300})
        assert any(problem.startswith(f"{key} = 'xxx") for problem in check(cfg, for_run=True))

    @pytest.mark.parametrize("key", ["DEMO.INPUT_VIDEO", "DEMO.OUTPUT_FILE"])
    def test_a_path_of_the_demo_with_a_zero_byte_is_a_problem(self, cfg: CfgNode, key: str) -> None:
        set_keys(cfg, DEMO__ENABLE=True, DEMO__INPUT_VIDEO=__file__, DEMO__OUTPUT_FILE="b.mp4")
        set_keys(cfg, **{key.replace(".", "__"): "a\0.mp4"})
        assert rf"{key} = 'a\x00.mp4': must not contain a zero byte; remove it" in check(cfg, for_run=True)

    def test_missing_csv_files_of_the_enabled_parts_are_listed(self, cfg: CfgNode) -> None:
        for name in ("train.csv", "val.csv", "test.csv"):
            Path(cfg.DATA.PATH_TO_DATA_DIR, name).unlink()
        assert "train.csv, val.csv, test.csv" in check(cfg, for_run=True)[0]
        cfg.TEST.ENABLE = False
        assert "lacks train.csv, val.csv;" in check(cfg, for_run=True)[0]
        assert check(cfg, for_run=True)[0].endswith("such as videofolder")

    def test_one_csv_file_is_accepted_for_all_splits(self, cfg: CfgNode) -> None:
        cfg.DATA.PATH_TO_DATA_DIR = str(Path(cfg.DATA.PATH_TO_DATA_DIR, "train.csv"))
        assert check(cfg, for_run=True) == []

    def test_a_run_without_training_and_test_is_refused(self, cfg: CfgNode) -> None:
        set_keys(cfg, TRAIN__ENABLE=False, TEST__ENABLE=False)
        assert "nothing to do" in check(cfg, for_run=True)[0]

    def test_a_test_without_any_weights_is_refused(self, cfg: CfgNode) -> None:
        cfg.TRAIN.ENABLE = False
        (problem,) = check(cfg, for_run=True)
        assert problem.startswith("TEST.CHECKPOINT_FILE_PATH = ''")

    @pytest.mark.parametrize("place", ["TEST", "TRAIN", "OUTPUT_DIR"])
    def test_weights_of_a_test_may_come_from_either_key_or_the_output_folder(
        self, cfg: CfgNode, tmp_path: Path, place: str
    ) -> None:
        cfg.TRAIN.ENABLE = False
        weights = tmp_path / "output" / "checkpoints" / "checkpoint_epoch_00001.pyth"
        if place != "OUTPUT_DIR":
            weights = tmp_path / "weights.pyth"
            cfg[place].CHECKPOINT_FILE_PATH = str(weights)
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
        assert check(cfg, for_run=True) == []

    def test_original_semantics_are_refused_in_training(self, cfg: CfgNode) -> None:
        cfg.DATA.ORIGINAL_SEMANTICS = True
        assert "set TRAIN.ENABLE False" in check(cfg, for_run=True)[0]

    def test_missing_checkpoints_are_refused(self, cfg: CfgNode) -> None:
        set_keys(cfg, TRAIN__CHECKPOINT_FILE_PATH="a.pyth", TEST__CHECKPOINT_FILE_PATH="b.pyth")
        problems = check(cfg, for_run=True)
        assert [problem.split(":")[0] for problem in problems] == [
            "TRAIN.CHECKPOINT_FILE_PATH = 'a.pyth'",
            "TEST.CHECKPOINT_FILE_PATH = 'b.pyth'",
        ]

    def test_a_folder_of_checkpoints_is_refused(self, cfg: CfgNode, tmp_path: Path) -> None:
        cfg.TRAIN.CHECKPOINT_FILE_PATH = str(tmp_path)
        (problem,) = check(cfg, for_run=True)
        assert problem.endswith("must be a checkpoint, but is a folder; give a file in it, or ''")

    def test_a_missing_file_of_class_names_is_refused(self, cfg: CfgNode) -> None:
        cfg.DATA.CLASS_NAMES = "classes.json"
        assert "does not exist" in check(cfg, for_run=True)[0]

    def test_a_file_in_place_of_the_output_folder_is_refused(self, cfg: CfgNode) -> None:
        cfg.OUTPUT_DIR = str(Path(cfg.DATA.PATH_TO_DATA_DIR, "train.csv", "run"))
        assert "is not a folder" in check(cfg, for_run=True)[0]

    def test_a_link_to_a_missing_output_folder_is_refused(self, cfg: CfgNode, tmp_path: Path) -> None:
        link = tmp_path / "runs"
        link.symlink_to(tmp_path / "unmounted")
        cfg.OUTPUT_DIR = str(link / "first")
        assert f"{link} is not a folder" in check(cfg, for_run=True)[0]

    @pytest.mark.parametrize(
        ("results", "problem"),
        [
            ("/", "must name a file; use for instance predictions.npz"),
            ("..", "must name a file; use for instance predictions.npz"),
            (".", "must name a file; use for instance predictions.npz"),
            ("{data}/train.csv/run.npz", "train.csv is not a folder; choose another folder"),
            ("{data}/predictions.npz", ""),
            ("runs/predictions.npz", ""),
        ],
    )
    def test_predictions_that_could_not_be_written_after_the_test(
        self, cfg: CfgNode, results: str, problem: str
    ) -> None:
        cfg.TEST.SAVE_RESULTS_PATH = results = results.format(data=cfg.DATA.PATH_TO_DATA_DIR)
        found = [text for text in check(cfg, for_run=True) if "SAVE_RESULTS_PATH" in text]
        assert len(found) == bool(problem)
        assert all(text.startswith(f"TEST.SAVE_RESULTS_PATH = {results!r}: ") for text in found)
        assert all(text.endswith(problem) for text in found)


def test_batch_sizes_must_be_multiples_of_the_processes(cfg: CfgNode) -> None:
    set_keys(cfg, TRAIN__BATCH_SIZE=16, TEST__BATCH_SIZE=8)
    assert check_batch_sizes(cfg, 4) == []
    train, test = check_batch_sizes(cfg, 3)
    assert train.startswith("TRAIN.BATCH_SIZE = 16: must be a multiple of the 3 processes")
    assert "use 15 or 18" in train
    assert "use 6 or 9" in test
    set_keys(cfg, TRAIN__BATCH_SIZE=1, TEST__ENABLE=False)
    (problem,) = check_batch_sizes(cfg, 2)
    assert "use 2," in problem
