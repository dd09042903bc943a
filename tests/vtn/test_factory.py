"""``create_model`` and ``list_models``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

import vtn
from slowfast.config import load_config
from slowfast.errors import CheckpointError, ConfigError, InputError, ModelError, SlowFastError
from tests.support.tiny_models import CLASSES, SIZE, tiny, tiny_average, tiny_probe
from vtn.config import MODEL_NAMES
from vtn.publishing.checkpoint import write_checkpoint

SMALL: dict[str, Any] = {"backbone": "shallow_conv", "pretrained": False, "hidden_dim": 24}


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return model.state_dict()


def assert_same_weights(model: nn.Module, expected: nn.Module) -> None:
    torch.testing.assert_close(weights_of(model), weights_of(expected), rtol=0, atol=0)


@pytest.mark.parametrize("wrong", [5, None, b"QUICKSTART", ["QUICKSTART"], {}])
def test_what_is_not_a_path_is_named(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="must be the path of a YAML file or the name of a configuration"):
        vtn.create_model(wrong)
    if wrong is not None:
        with pytest.raises(InputError, match=r"checkpoint is a .*: must be the path of a file of weights"):
            vtn.create_model("QUICKSTART", checkpoint=wrong)
        with pytest.raises(CheckpointError, match="null"):
            vtn.create_model("QUICKSTART", checkpoint="a\0b")


# ------------------------------------------------------------------------------------ configurations


def test_shipped_configurations_are_listed() -> None:
    names = vtn.list_models()
    assert {"VIT_B_VTN", "QUICKSTART", "R50_VTN_FROZEN"} <= set(names)
    assert names == sorted(names)
    assert not [name for name in names if name.startswith("BASE")]
    assert vtn.list_models("deit_ti*") == ["DEIT_TI_VTN", "DEIT_TI_VTN_1LAYER", "DEIT_TI_VTN_FROZEN"]
    assert vtn.list_models("nothing*") == []
    with pytest.raises(InputError, match="filter = 5: must be a pattern such as 'R50"):
        vtn.list_models(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", vtn.list_models())
def test_every_listed_name_describes_a_model_of_this_package(name: str) -> None:
    assert load_config(name).MODEL.MODEL_NAME in MODEL_NAMES


def test_fields_replace_those_of_the_configuration() -> None:
    model = vtn.create_model("vit_b_vtn", num_classes=12, num_layers=1, num_heads=4, **SMALL)
    assert isinstance(model, vtn.VTN)
    assert not model.training
    assert model.num_classes == 12
    assert model.arguments.backbone == vtn.BackboneConfig("shallow_conv", pretrained=False)
    assert model.arguments.encoder == vtn.EncoderConfig(
        hidden_dim=24, num_layers=1, num_heads=4, attention_window=18
    )


def test_the_number_of_layers_changes_without_the_window_of_the_configuration() -> None:
    """Equal windows per layer, as in this configuration, do not fix the number of layers."""
    model = vtn.create_model("VIT_B_VTN", num_layers=5, **SMALL)
    assert len(model.temporal_encoder.layers) == 5


def test_groups_replace_those_of_the_configuration() -> None:
    head = vtn.HeadConfig(mlp_dim=8)
    model = vtn.create_model("VIT_B_VTN", encoder={"hidden_dim": 24}, head=head, backbone="shallow_conv",
                             pretrained=False)  # fmt: skip
    assert model.arguments.head == head
    assert model.mlp_head[1].weight.shape == (8, 24)


def test_overrides_and_fields_can_be_combined() -> None:
    overrides = {"VTN.HEAD.MLP_DIM": 8, "DATA": {"MEAN": [0.1, 0.2, 0.3]}}
    model = vtn.create_model("VIT_B_VTN", overrides=overrides, **SMALL)
    assert model.arguments.head.mlp_dim == 8
    assert model.frame_mean == (0.1, 0.2, 0.3)


def test_a_baseline_is_built_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mean.yaml"
    path.write_text(
        "MODEL: {MODEL_NAME: FrameAverage, NUM_CLASSES: 7}\n"
        "VTN: {BACKBONE: {NAME: shallow_conv, PRETRAINED: False}}\n"
    )
    model = vtn.create_model(path, mlp_dim=8)
    assert isinstance(model, vtn.FrameAverage)
    assert model.num_classes == 7


def test_no_weights_are_fetched_for_a_checkpoint(tmp_path: Path) -> None:
    """``pretrained=True`` would fail: the file of the backbone's weights does not exist."""
    expected = vtn.create_model("QUICKSTART", num_classes=3)
    torch.save({"model_state": expected.state_dict()}, tmp_path / "weights.pyth")
    fields = {"num_classes": 3, "pretrained": True, "backbone_checkpoint": "missing.pyth"}
    assert_same_weights(vtn.create_model("QUICKSTART", tmp_path / "weights.pyth", **fields), expected)


@pytest.mark.parametrize(
    ("name", "fields", "error", "message"),
    [
        ("VIT_B_VTM", {}, ConfigError, "did you mean VTN/VIT_B_VTN"),
        ("VIT_B_VTN", {"num_clases": 3}, ModelError, "num_clases: the model has no such argument; did "
         "you mean num_classes"),
        ("VIT_B_VTN", {"num_heads": 7}, ModelError, "num_heads"),
        ("SLOW_8x8_R50", {}, ConfigError, "must be a model that encodes single frames"),
    ],
)  # fmt: skip
def test_names_and_fields_with_errors_are_named(
    name: str, fields: dict[str, Any], error: type[SlowFastError], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        vtn.create_model(name, **{**({} if error is ConfigError else SMALL), **fields})


@pytest.mark.parametrize("published", [False, True])
def test_a_checkpoint_as_start_for_other_classes(published: bool, tmp_path: Path) -> None:
    expected = vtn.create_model("QUICKSTART", num_classes=3)
    expected.class_names, path = ("a", "b", "c"), tmp_path / "weights.pyth"
    if published:
        path = tmp_path / write_checkpoint(expected, "", tmp_path, "model")[0]
    else:
        torch.save({"model_state": expected.state_dict(), "class_names": ["a", "b", "c"]}, path)
    with pytest.raises(CheckpointError, match=r"the model has 4: .* or reset_head=True to keep"):
        vtn.create_model("QUICKSTART", path, num_classes=4)
    model = vtn.create_model("QUICKSTART", path, num_classes=4, reset_head=True)
    assert model.class_names == ()
    head = model.mlp_head[4].weight
    assert head.shape[0] == 4
    assert 0.3 < head.std() * (3 * head.shape[1]) ** 0.5 < 3  # as torch initialises a linear layer
    assert_same_weights(model.backbone, expected.backbone)
    same = vtn.create_model("QUICKSTART", path, num_classes=3, reset_head=True)
    assert_same_weights(same, expected)
    assert same.class_names == ("a", "b", "c")


def test_a_text_does_not_reset_the_head(tmp_path: Path) -> None:
    """The text "no" counted as True."""
    tiny().save_pretrained(tmp_path)
    for load in (vtn.create_model, vtn.VTN.from_pretrained):
        with pytest.raises(InputError, match="reset_head = 'no': must be True or False"):
            load(tmp_path, num_classes=CLASSES + 1, reset_head="no")
    with pytest.raises(InputError, match="reset_head = 'yes': must be True or False"):
        vtn.create_model("no_such_configuration", reset_head="yes")


def test_a_missing_checkpoint_is_reported_before_the_model_is_built(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing\.pyth"):
        vtn.create_model("VIT_B_VTN", tmp_path / "missing.pyth", backbone="no_such_backbone")


def test_a_checkpoint_in_place_of_a_configuration_or_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pyth"
    torch.save(weights_of(tiny()), path)
    with pytest.raises(ConfigError, match=r"weights\.pyth: is a file of weights, not .*as checkpoint=FILE"):
        vtn.create_model(path)
    with pytest.raises(CheckpointError, match=r"weights\.pyth: is a file, not .*vtn\.create_model"):
        vtn.VTN.from_pretrained(path)


# ------------------------------------------------------------------------------------ published models


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
def test_a_published_folder_is_loaded(build: Any, tmp_path: Path) -> None:
    expected = build()
    expected.class_names = tuple("abcde")
    expected.save_pretrained(tmp_path)
    model = vtn.create_model(tmp_path)
    assert type(model) is type(expected)
    assert not model.training
    assert model.class_names == tuple("abcde")
    assert_same_weights(model, expected)


def test_a_published_folder_needs_a_new_head_for_other_classes(tmp_path: Path) -> None:
    trained = tiny()
    trained.class_names = tuple("abcde")
    trained.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"mlp_head\.4"):
        vtn.create_model(tmp_path, num_classes=CLASSES + 1)
    model = vtn.create_model(tmp_path, num_classes=CLASSES + 1, reset_head=True)
    assert model(torch.zeros(1, 3, 2, SIZE, SIZE)).shape == (1, CLASSES + 1)
    assert model.class_names == ()


def test_other_weights_are_loaded_into_the_architecture_of_a_folder(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path / "folder")
    other = vtn.VTN(**tiny().arguments.as_keywords())
    torch.save(other.state_dict(), tmp_path / "other.pyth")
    assert_same_weights(vtn.create_model(tmp_path / "folder", tmp_path / "other.pyth"), other)


def test_a_folder_has_no_configuration_keys(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is a published model, which has no configuration keys"):
        vtn.create_model(tmp_path, overrides=("MODEL.NUM_CLASSES", "3"))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        vtn.create_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="does not name an architecture"):
        vtn.create_model(tmp_path)


@pytest.mark.parametrize("architecture", [["VTN"], {"VTN": 1}, 5, None, "", "Missing", "SlowFast", "MViT"])
def test_a_folder_of_another_package_is_refused(architecture: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))):
        vtn.create_model(tmp_path)


def test_a_model_of_the_hub_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny().save_pretrained(tmp_path / "uploaded")
    asked = []

    def download(repo_id: str, filename: str, **options: Any) -> str:
        asked.append((repo_id, filename, options))
        return shutil.copy(tmp_path / "uploaded" / filename, tmp_path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    options = {"revision": "v2", "local_files_only": True}
    assert_same_weights(vtn.create_model("me/tiny", **options), tiny())
    for file in ("config.json", "model.safetensors"):
        assert ("me/tiny", file, options) in asked
    assert all(given == options for _, _, given in asked)


def test_a_model_of_the_hub_needs_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny().save_pretrained(tmp_path)

    def download(repo_id: str, filename: str, **_: Any) -> str:
        if filename != "config.json":
            raise LocalEntryNotFoundError("no such file")
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(CheckpointError, match=r"me/tiny: .* does not give its model.safetensors: no such"):
        vtn.VTN.from_pretrained("me/tiny")


def test_an_unknown_name_of_the_hub_gets_the_nearest_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(ConfigError, match=r"did you mean VTN/VIT_B_VTN.* hub was asked too: no connection"):
        vtn.create_model("me/VIT_B_VTM")


def test_a_type_checker_finds_what_every_model_has() -> None:
    """Pyright and mypy took ``create_model(…).class_names`` for a tensor or a module."""
    bases = get_type_hints(vtn.create_model)["return"].__mro__
    known = {name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    assert {"class_names", "evaluation", "save_pretrained", "push_to_hub", "classify"} <= known
