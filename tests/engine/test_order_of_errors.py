"""Lists and names that are wrong are reported before a model is built, whose weights may be downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.distributed.world import World
from slowfast.engine.run import run
from slowfast.errors import AnnotationError, ConfigError, SlowFastError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from slowfast.models.build import MODEL_REGISTRY
from slowfast.probe.run import ProbeOptions, probe
from tests.support.tiny import tiny_config
from tests.support.tiny_features import feature_config

LINES = {"train": "a.mp4 0\nb.mp4 1\n", "val": "c.mp4 1\n", "test": "d.mp4 2\n"}
WRONG = "e.mp4 9\n"  # a class of 3 classes


@MODEL_REGISTRY.register("NeverBuilt")
class NeverBuilt(nn.Module):
    """A model whose building is an error."""

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True) -> NeverBuilt:
        raise AssertionError("the model is built before its data is read")


def write_lists(folder: Path, wrong: str) -> Path:
    for split, lines in LINES.items():
        (folder / f"{split}.csv").write_text(lines + WRONG * (split == wrong))
    return folder


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("wrong", ["train", "val", "test"])
def test_a_training_reads_all_lists_first(tmp_path: Path, wrong: str, dry_run: bool) -> None:
    folder = write_lists(tmp_path, wrong)
    cfg = tiny_config(folder, tmp_path / "out", "MODEL.MODEL_NAME", "NeverBuilt")
    with pytest.raises(AnnotationError, match=rf"{wrong}\.csv.*9.*MODEL\.NUM_CLASSES") as caught:
        run(cfg, dry_run=dry_run)
    assert ("TEST.ENABLE False trains without it" in str(caught.value)) == (wrong == "test")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (("DATA.CLASS_NAMES", "names.txt"), "names.txt"),
        (("TRAIN.GRAD_ACCUM_STEPS", 8), "TRAIN.GRAD_ACCUM_STEPS = 8: must be at most 4"),
        (("TEST.GROUP_BY", "(missing)"), "TEST.GROUP_BY"),
        (("TRAIN.CHECKPOINT_FILE_PATH", "names.txt"), "names.txt cannot be read: it is not a checkpoint"),
    ],
)
def test_a_training_checks_what_needs_no_model_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, Any], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("one\ntwo\n")
    cfg = tiny_config(write_lists(tmp_path, ""), tmp_path / "out", "MODEL.MODEL_NAME", "NeverBuilt", *changes)
    with pytest.raises(SlowFastError, match=problem.replace(".", r"\.")):
        run(cfg)


def test_a_test_reads_its_list_first(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pyth"
    weights.touch()
    cfg = tiny_config(
        write_lists(tmp_path, "test"), tmp_path / "out", "MODEL.MODEL_NAME", "NeverBuilt",
        "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", str(weights),
    )  # fmt: skip
    with pytest.raises(AnnotationError, match=r"test\.csv.*MODEL\.NUM_CLASSES"):
        run(cfg)


@pytest.mark.parametrize("wrong", ["val", "test"])
def test_an_extraction_reads_all_lists_first(tmp_path: Path, wrong: str) -> None:
    folder = write_lists(tmp_path, wrong)
    cfg = feature_config(
        folder, tmp_path / "out", "MODEL.MODEL_NAME", "NeverBuilt", "DATA.FEATURES", str(tmp_path / "cache")
    )
    with pytest.raises(AnnotationError, match=rf"{wrong}\.csv.*MODEL\.NUM_CLASSES"):
        extract_features(cfg, World(), Interrupt(), ExtractionRequest())


def test_an_extraction_checks_its_options_first(tmp_path: Path) -> None:
    cfg = feature_config(
        write_lists(tmp_path, ""), tmp_path / "out", "MODEL.MODEL_NAME", "NeverBuilt",
        "DATA.FEATURES", str(tmp_path / "cache"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"TEST_WHOLE_PICTURE = False: must be True for --whole-pictures"):
        extract_features(cfg, World(), Interrupt(), ExtractionRequest(whole_pictures=True))


@pytest.mark.parametrize("wrong", ["val", "test"])
def test_a_search_reads_all_lists_first(tmp_path: Path, wrong: str) -> None:
    pytest.importorskip("sklearn")
    folder = write_lists(tmp_path, wrong)
    cfg = feature_config(
        folder, tmp_path / "out", "MODEL.MODEL_NAME", "VTN", "VTN.BACKBONE.NAME", "no_such_backbone",
        "VTN.BACKBONE.FROZEN", True, "DATA.FEATURES", str(tmp_path / "cache"),
    )  # fmt: skip
    with pytest.raises(AnnotationError, match=rf"{wrong}\.csv.*MODEL\.NUM_CLASSES"):
        probe(cfg, ProbeOptions(test=True), Interrupt())
