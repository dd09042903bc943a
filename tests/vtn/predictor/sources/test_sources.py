"""Sources of a predictor that are not a published model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.errors import CheckpointError
from tests.support.inference.changed_sources import changed_folder
from vtn.predictor.source import load_source


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "has no config.json that can be read"),
        ("[" * 100_000, "has no config.json that can be read"),
        ("[]", "does not name an architecture"),
        ('{"architecture": "VTN"}', "lacks num_classes, class_names"),
    ],
)
def test_folders_that_are_not_published_models(
    content: str, message: str, published: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(published, folder)
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_source(folder)


def test_a_model_of_another_kind_is_refused(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", architecture="Tiny")
    with pytest.raises(CheckpointError, match="is a Tiny, which does not encode single frames"):
        load_source(folder)


def test_arguments_of_another_kind_are_refused(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", num_classes="many")
    with pytest.raises(CheckpointError, match=r"config\.json was .* changed: num_classes = "):
        load_source(folder)


def test_weights_without_a_configuration_need_one(checkpoint: Path, cfg: CfgNode, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pyth"
    torch.save(read_checkpoint(checkpoint)["model_state"], weights)
    with pytest.raises(CheckpointError, match="holds weights without a configuration"):
        load_source(weights)
    (tmp_path / "own.yaml").write_text(cfg.dump())
    model = load_source(weights, config=tmp_path / "own.yaml")
    assert torch.equal(model.cls_token, load_source(checkpoint).cls_token)
    assert model.evaluation == load_source(checkpoint).evaluation


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.pyth", "does not exist; give a folder"),
        ("QUICKSTART", "is a configuration without weights: write CHECKPOINT --cfg QUICKSTART"),
        ("somebody/model", "the Hugging Face hub does not give its config.json"),
    ],
)
def test_sources_that_do_not_exist(source: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_source(source)


def test_a_name_on_the_hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, file: str, **_: Any) -> str:
        asked.append((name, file))
        return str(published / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    model = load_source("somebody/model")
    assert torch.equal(model.cls_token, load_source(published).cls_token)
    assert {name for name, _ in asked} == {"somebody/model"}
