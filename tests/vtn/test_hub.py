"""Folders for the Hugging Face hub: what ``config.json`` holds, and older ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from slowfast.errors import CheckpointError, ConfigError, ModelError
from tests.support.tiny_models import (
    CLASSES,
    TINY,
    random_features,
    tiny,
    tiny_average,
    tiny_groups,
    tiny_probe,
)
from vtn import VTN, EncoderConfig, FrameAverage, FusionConfig, create_model
from vtn.arguments.evaluation import build_evaluation_config
from vtn.arguments.model_arguments import FLAT_NAMES
from vtn.folder import layout


def read_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def flatten(folder: Path) -> None:
    """Rewrites ``config.json`` with flat names, as it was written before there were groups."""
    config = read_config(folder)
    groups = {name: config.pop(name) for name in ("backbone", "encoder", "head") if name in config}
    flat = {name: groups[group][field] for name, (group, field) in FLAT_NAMES.items() if group in groups}
    (folder / "config.json").write_text(
        json.dumps({"backbone": groups["backbone"]["name"], **flat, **config})
    )


def test_the_config_describes_the_groups_of_arguments(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    config = read_config(tmp_path)
    backbone, encoder, head = tiny_groups()
    assert config["architecture"] == "VTN"
    assert config["num_classes"] == CLASSES
    assert config["backbone"] == {**vars(backbone), "pretrained": False}
    assert config["encoder"] == vars(encoder)
    assert config["head"] == vars(head)
    assert config["fusion"] == vars(FusionConfig())


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
def test_a_folder_gives_the_same_model(build: Any, older: bool, tmp_path: Path) -> None:
    model = build()
    model.save_pretrained(tmp_path)
    if older:
        flatten(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.arguments == model.arguments.without_weights()
    assert torch.equal(loaded.classify(random_features()), model.classify(random_features()))


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        {"attention_window": 8},
        {"encoder": {"attention_window": 8}},
        {"encoder": EncoderConfig(32, 2, 2, 48, attention_window=8)},
    ],
)
def test_arguments_replace_those_of_a_folder(given: dict[str, Any], older: bool, tmp_path: Path) -> None:
    """No weight depends on the window, so that a model may be used with another one."""
    tiny().save_pretrained(tmp_path)
    if older:
        flatten(tmp_path)
    model = VTN.from_pretrained(tmp_path, **given)
    assert model.arguments.encoder == EncoderConfig(32, 2, 2, 48, attention_window=8)
    expected = tiny(attention_window=8)
    assert torch.equal(model.classify(random_features(20)), expected.classify(random_features(20)))


def test_an_unknown_argument_for_a_folder_is_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="windw: the model has no such argument"):
        VTN.from_pretrained(tmp_path, windw=8)


def test_a_config_with_an_unknown_argument_is_refused(tmp_path: Path) -> None:
    """Left out, the argument of a later version could change what the weights compute."""
    tiny().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**read_config(tmp_path), "rotary": True}))
    with pytest.raises(CheckpointError, match=r"config\.json was .*: rotary: the model has no such argument"):
        VTN.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["not json", "[" * 100_000, f"{'[' * 700}{']' * 700}"])
def test_a_config_that_cannot_be_read_is_refused(content: str, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"has no config\.json that can be read"):
        VTN.from_pretrained(tmp_path)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json; give a folder"):
        VTN.from_pretrained(tmp_path)


def test_the_class_is_named_where_another_loads_the_folder(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"is a VTN, not a FrameAverage; load it with vtn\.create_model"
    ):
        FrameAverage.from_pretrained(tmp_path)


def test_a_number_of_classes_of_numpy_is_saved(tmp_path: Path) -> None:
    tiny(num_classes=np.int64(CLASSES)).save_pretrained(tmp_path)
    assert VTN.from_pretrained(tmp_path).num_classes == CLASSES


def test_another_number_of_names_than_of_classes_is_not_saved(tmp_path: Path) -> None:
    """They were written, and nothing that reads the folder used them."""
    model = tiny()
    model.save_pretrained(tmp_path)
    model.class_names = ("left", "right")
    with pytest.raises(ModelError, match=r"class_names has 2 names: must be one for each of the . classes"):
        model.save_pretrained(tmp_path)
    assert VTN.from_pretrained(tmp_path).class_names == ()


def test_a_given_backbone_is_neither_copied_nor_described(tmp_path: Path) -> None:
    network = tiny().backbone
    arguments = {name: value for name, value in TINY.items() if name != "backbone_args"}
    model = VTN(network, **arguments)
    assert model.backbone is network
    with pytest.raises(ModelError, match="register it in BACKBONE_REGISTRY"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    twin = copy.deepcopy(model)
    nn.init.zeros_(next(twin.backbone.parameters()))
    assert next(network.parameters()).any()


def test_an_earlier_model_survives_a_save_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny().save_pretrained(tmp_path)

    def disk_full(*args: Any) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(layout, "save_file", disk_full)
    with pytest.raises(CheckpointError, match="No space left"):
        tiny().save_pretrained(tmp_path)
    assert isinstance(VTN.from_pretrained(tmp_path), VTN)


def test_weights_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    model = tiny(num_layers=2)
    first, second = model.temporal_encoder.layers
    second.output["dense"].weight = first.output["dense"].weight
    model.save_pretrained(tmp_path)
    loaded = VTN.from_pretrained(tmp_path).temporal_encoder.layers
    assert torch.equal(loaded[0].output["dense"].weight, loaded[1].output["dense"].weight)


def test_a_config_without_a_fact_about_the_weights_is_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    config = read_config(tmp_path)
    del config["frame_mean"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json lacks frame_mean; save it again"):
        VTN.from_pretrained(tmp_path)


def test_files_that_a_folder_names_are_not_read(tmp_path: Path) -> None:
    """As by ``vtn.Predictor``: only the user chooses what is looked up elsewhere."""
    tiny().save_pretrained(tmp_path)
    config = read_config(tmp_path)
    own = config["backbone"]

    def change(**backbone: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps({**config, "backbone": {**own, **backbone}}))

    change(args={**own["args"], "checkpoint_path": "/tmp/weights.pth"})
    for load in (VTN.from_pretrained, create_model):
        with pytest.raises(
            CheckpointError, match=r"checkpoint_path = '/tmp/weights\.pth': must not name files"
        ):
            load(tmp_path)
    change(name="hf:/tmp/model")
    with pytest.raises(CheckpointError, match="if you trust it, write --backbone hf:/tmp/model"):
        VTN.from_pretrained(tmp_path)
    model = VTN.from_pretrained(tmp_path, backbone=own["name"])
    assert torch.equal(model.cls_token, tiny().cls_token)


@pytest.mark.parametrize(
    ("group", "key", "value", "problem"),
    [
        ("", "num_classes", 3.5, "num_classes = 3.5: must be 1 or more, as a whole number"),
        ("backbone", "name", None, "name must be text|cannot be built"),
        ("backbone", "name", ["shallow_conv"], "name must be text|cannot be built"),
        ("backbone", "args", "x", "backbone.args = 'x': must be a mapping of names to values"),
        ("backbone", "class_token", None, "describes a model that cannot be built"),
        ("backbone", "lora", [1], r"lora = \[1\]: must be a mapping of names to values"),
        (
            "encoder",
            "attention_window",
            None,
            "cannot be built: encoder.attention_window = None: must be even",
        ),
    ],
)
def test_wrong_values_are_refused(group: str, key: str, value: Any, problem: str, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    config = read_config(tmp_path)
    (config[group] if group else config)[key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=problem):
        VTN.from_pretrained(tmp_path)


def test_a_sampling_rate_of_0_in_a_folder_is_refused() -> None:
    """In a configuration it stands for the model's own rate, which a folder states."""
    with pytest.raises(ConfigError, match=r"DATA\.SAMPLING_RATE = 0: must be 1 or more"):
        build_evaluation_config({"DATA.SAMPLING_RATE": 0}, tiny(), source="folder")


def test_adapters_that_a_folder_lacks_have_initial_values(tmp_path: Path) -> None:
    """Uninitialised ones would be anything, or all 0, from which LoRA does not learn."""
    tiny().save_pretrained(tmp_path)
    torch.use_deterministic_algorithms(True)  # fills memory that is not initialised with NaN
    try:
        model = VTN.from_pretrained(tmp_path, lora={"rank": 2}, frozen=False)
    finally:
        torch.use_deterministic_algorithms(False)
    adapters = {name: adapter for name, adapter in model.named_parameters() if "lora_" in name}
    assert adapters
    for name, adapter in adapters.items():
        assert (adapter.std() > 0.01) if "lora_A" in name else not adapter.any()
