"""Folders from elsewhere, read by the Auto classes: nothing in them is acted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

from slowfast.errors import CheckpointError, ConfigError, SlowFastError
from tests.support.inference.changed_sources import changed_folder
from vtn.transformers import VTNConfig, VTNForVideoClassification

load = AutoModelForVideoClassification.from_pretrained


def test_code_in_a_folder_is_not_run(published: Path, tmp_path: Path) -> None:
    """The package itself has the classes that the folder names, so that the user is not asked for trust."""
    folder = changed_folder(published, tmp_path / "changed")
    mark = tmp_path / "was run"
    (folder / "modeling_vtn.py").write_text(f"open({str(mark)!r}, 'w')")
    AutoConfig.from_pretrained(folder)
    load(folder)
    AutoVideoProcessor.from_pretrained(folder)
    assert not mark.exists()


def test_weights_that_a_configuration_names_are_not_loaded(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(
        *(published, tmp_path / "changed"),
        backbone__pretrained=True,
        backbone__checkpoint=str(tmp_path / "backbone.pyth"),
        encoder__checkpoint="https://example.invalid/longformer",
    )
    config = AutoConfig.from_pretrained(folder)
    expected = load(published).vtn
    for model in (load(folder), AutoModelForVideoClassification.from_config(config)):
        assert model.vtn.arguments == expected.arguments
    config.save_pretrained(tmp_path / "saved")
    assert "example.invalid" not in (tmp_path / "saved" / "config.json").read_text()


@pytest.mark.parametrize("name", ["hf:somebody/model", "hf:/etc", "hf-hub:somebody/model", "local-dir:/tmp"])
def test_a_backbone_elsewhere_is_not_looked_up(name: str, published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", backbone__name=name)
    message = f"its backbone '{name}' is described by another file"
    for source in (folder, str(folder)):
        with pytest.raises(CheckpointError, match=message):
            load(source)
    with pytest.raises(CheckpointError, match=message):
        VTNForVideoClassification(AutoConfig.from_pretrained(folder))
    model = load(folder, backbone="test_vit")  # the user's choice
    assert torch.equal(model.vtn.cls_token, load(published).vtn.cls_token)


def test_a_backbone_of_the_users_own_configuration_is_used(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", backbone__name="hf:somebody/model")
    content = json.loads((published / "config.json").read_text())
    model = VTNForVideoClassification.from_pretrained(folder, config=VTNConfig(**content))
    assert model.vtn.arguments.backbone.name == "test_vit"


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder__intermediate_size": 10**5},
        {"encoder__num_layers": 10**9},
        {"backbone__args": {"depth": 10**9}},
        {"backbone__args": {"img_size": 32, "checkpoint_path": "weights"}},
        {"backbone__args": {"img_size": 32, "act_layer": "/tmp/file"}},
        {"architecture": "Tiny"},
        {"architecture": "Missing"},
        {"architecture": ["VTN"]},
        {"encoder": "large"},
        {"num_classes": 5},
        {"rotary": True},
        {"custom_pipelines": {"video-classification": {"impl": "modeling_vtn.Pipeline"}}},
        {"weights_digest": "0"},
    ],
    ids=str,
)
def test_wrong_configurations_are_refused(changes: dict[str, Any], published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", **changes)
    with pytest.raises(CheckpointError):
        load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation": {"DATA.TEST_CROP_SIZE": 10**6}},
        {"evaluation": {"OUTPUT_DIR": "x"}},
        {"clip_grid": {"frames": 3, "tubelet": 2, "stride": 2}},
    ],
    ids=str,
)
def test_unsuitable_processors_are_refused(changes: dict[str, Any], published: Path, tmp_path: Path) -> None:
    file = "video_preprocessor_config.json"
    folder = changed_folder(published, tmp_path / "changed", file, **changes)
    with pytest.raises(SlowFastError):
        AutoVideoProcessor.from_pretrained(folder)


def test_the_pipeline_refuses_them_too(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", backbone__name="hf:somebody/model")
    with pytest.raises((CheckpointError, ValueError), match="is described by another file"):
        pipeline("video-classification", model=str(folder), device="cpu")


def test_a_name_on_the_hub_is_looked_up_there(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and their description are asked for by the name alone, with the same revision."""
    asked: list[tuple[str, str, Any]] = []

    def download(repo_id: str, filename: str, **options: Any) -> str:
        asked.append((repo_id, filename, options.get("revision")))
        return str(published / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    config = VTNConfig.from_pretrained(published)
    model = VTNForVideoClassification.from_pretrained("somebody/model", config=config, revision="v1")
    assert torch.equal(model.vtn.cls_token, load(published).vtn.cls_token)
    assert {(name, revision) for name, _, revision in asked} == {("somebody/model", "v1")}


def test_a_model_that_does_not_exist_is_named() -> None:
    config = VTNConfig(backbone="shallow_conv")
    with pytest.raises(CheckpointError, match=r"the Hugging Face hub does not give its model\.safetensors"):
        VTNForVideoClassification.from_pretrained("somebody/model", config=config)
    with pytest.raises((OSError, ConfigError)):
        VTNForVideoClassification.from_pretrained("somebody/model")
