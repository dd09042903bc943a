"""One layout of folders: both classes write it and read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForVideoClassification, AutoVideoProcessor, PretrainedConfig

import vtn
from slowfast.errors import CheckpointError, InputError, ModelError
from slowfast.models import MODEL_REGISTRY
from tests.support.tiny_models import (
    CLASS_NAMES,
    CLASSES,
    SIZE,
    random_features,
    tiny,
    tiny_average,
    tiny_probe,
)
from vtn import VTN
from vtn.arguments.model_arguments import FusedModelArguments
from vtn.transformers import VTNConfig, VTNForVideoClassification, VTNVideoProcessor

OLD_FOLDER = Path(__file__).parents[2] / "compatibility" / "files" / "hub"


def contents(folder: Path) -> dict[str, Any]:
    """Returns the text of each file; of weights their values as lists, and their dtypes."""
    found: dict[str, Any] = {}
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            weights = load_file(path)
            found[path.name] = {name: (weight.dtype, weight.tolist()) for name, weight in weights.items()}
        else:
            found[path.name] = path.read_text()
    return found


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
def test_the_auto_class_reads_what_a_model_of_this_package_writes(
    build: Callable[[], Any], tmp_path: Path
) -> None:
    model = build()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path)
    assert type(loaded) is VTNForVideoClassification
    assert type(loaded.vtn) is type(model)
    assert not loaded.training
    features = random_features()
    assert torch.equal(loaded(features=features).logits, model.classify(features))
    assert torch.equal(loaded(features=features, return_dict=False)[0], model.classify(features))


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
def test_both_classes_write_the_same_files(build: Callable[[], Any], tmp_path: Path) -> None:
    build().save_pretrained(tmp_path / "ours")
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
    type(model.vtn).from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "again")
    assert contents(tmp_path / "ours") == contents(tmp_path / "again")


def test_a_configuration_alone_has_the_entries_of_the_file(published: Path, tmp_path: Path) -> None:
    AutoConfig.from_pretrained(published).save_pretrained(tmp_path)
    expected = json.loads((published / "config.json").read_text())
    assert json.loads((tmp_path / "config.json").read_text()) == expected
    AutoVideoProcessor.from_pretrained(published).save_pretrained(tmp_path)
    name = "video_preprocessor_config.json"
    assert json.loads((tmp_path / name).read_text()) == json.loads((published / name).read_text())


def test_a_folder_of_version_0_1_0_is_read() -> None:
    """It has no entries for the Auto classes, but the class itself reads it."""
    model = VTNForVideoClassification.from_pretrained(OLD_FOLDER)
    assert model.config.class_names == ("first", "second")
    expected = torch.tensor(json.loads((OLD_FOLDER.parent / "logits.json").read_text())["logits"])
    frames = torch.randn(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = model(frames.transpose(1, 2)).logits
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-6)


def test_class_names_are_labels(published: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(published)
    assert config.id2label == dict(enumerate(CLASS_NAMES))
    model = AutoModelForVideoClassification.from_pretrained(published)
    model.config.id2label[0] = "to the left"
    model.save_pretrained(tmp_path)
    assert VTN.from_pretrained(tmp_path).class_names == ("to the left", *CLASS_NAMES[1:])
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["class_names"])[0] == "to the left"


def test_another_number_of_labels_needs_a_new_last_layer(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    load = AutoModelForVideoClassification.from_pretrained
    with pytest.raises(CheckpointError, match=r"(?s)mlp_head\.4\.weight.*: ignore_mismatched_sizes=True\)"):
        load(tmp_path, num_labels=CLASSES + 2)
    model = load(tmp_path, num_labels=CLASSES + 2, ignore_mismatched_sizes=True)
    assert model(torch.zeros(1, 2, 3, SIZE, SIZE)).logits.shape == (1, CLASSES + 2)
    assert model.config.num_labels == CLASSES + 2
    labels = {0: "a", 1: "b"}
    named = load(tmp_path, id2label=labels, label2id={"a": 0, "b": 1}, ignore_mismatched_sizes=True)
    assert named.config.class_names == ("a", "b")
    named.save_pretrained(tmp_path / "saved")
    assert VTN.from_pretrained(tmp_path / "saved").class_names == ("a", "b")


def test_arguments_replace_those_of_a_folder(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    model = AutoModelForVideoClassification.from_pretrained(tmp_path, attention_window=8)
    features = random_features(20)
    assert torch.equal(model(features=features).logits, tiny(attention_window=8).classify(features))


def test_a_given_configuration_stays_as_it_is(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    before = config.to_dict()
    model = VTNForVideoClassification.from_pretrained(tmp_path, config=config, attention_window=8)
    assert model.config.arguments["encoder"]["attention_window"] == 8
    assert config.to_dict() == before


def test_weights_in_bfloat16_stay_so_in_files(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    half = AutoModelForVideoClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.bfloat16}
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path / "half")
    assert loaded.dtype == torch.bfloat16
    own = VTN.from_pretrained(tmp_path / "half")
    torch.testing.assert_close(own.cls_token, half.vtn.cls_token.float())


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["cls_token"] += 1
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        AutoModelForVideoClassification.from_pretrained(tmp_path)
    del weights["cls_token"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="cls_token"):
        AutoModelForVideoClassification.from_pretrained(tmp_path)


def test_weights_given_by_the_trainer_are_saved(tmp_path: Path) -> None:
    """With sharded training it gathers them, under the names of the model in memory."""
    model = VTNForVideoClassification.from_vtn(tiny())
    weights = {name: torch.full_like(weight, 2) for name, weight in model.state_dict().items()}
    assert all(name.startswith("vtn.") for name in weights)
    model.save_pretrained(tmp_path / "other", is_main_process=False, state_dict=weights)
    assert not (tmp_path / "other").exists()
    model.save_pretrained(tmp_path, state_dict=weights)
    assert VTN.from_pretrained(tmp_path).cls_token.unique().tolist() == [2]
    with pytest.raises(InputError, match="variant: a folder of this model has one file of weights"):
        model.save_pretrained(tmp_path, variant="fp16")


def test_options_of_saving_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    model = VTNForVideoClassification.from_vtn(tiny())
    with pytest.raises(InputError, match=r"nonsense: VTNForVideoClassification\.save_pretrained has no such"):
        model.save_pretrained(tmp_path / "mine", nonsense=3)
    assert not (tmp_path / "mine").exists()
    model.save_pretrained(tmp_path / "mine", max_shard_size="1GB", token=None)


@pytest.mark.parametrize("option", ["quantization_config", "output_loading_info", "windw"])
def test_options_of_loading_that_do_not_exist_are_refused(option: str, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"{option}: VTNForVideoClassification.from_pretrained has no such"):
        VTNForVideoClassification.from_pretrained(tmp_path, **{option: 1})


@pytest.mark.parametrize("load", [AutoModelForVideoClassification, VTNForVideoClassification])
def test_a_folder_in_a_folder_is_refused(load: Any, tmp_path: Path) -> None:
    """The weights would be those of the outer folder."""
    tiny().save_pretrained(tmp_path)
    tiny().save_pretrained(tmp_path / "inner")
    with pytest.raises(InputError, match="subfolder = 'inner': must be left out; give the path"):
        load.from_pretrained(tmp_path, subfolder="inner")


def test_several_devices_are_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    assert VTNForVideoClassification.from_pretrained(tmp_path, device_map="cpu").device.type == "cpu"
    with pytest.raises(InputError, match="device_map = 'auto': must be one device"):
        VTNForVideoClassification.from_pretrained(tmp_path, device_map="auto")


def test_a_new_model_of_a_configuration_has_the_initial_weights_of_this_package() -> None:
    """Its weights are those that the package initialises, not those of transformers."""
    config = VTNConfig(backbone={"name": "shallow_conv", "pretrained": False}, hidden_dim=32, num_heads=4)
    torch.manual_seed(0)
    model = VTNForVideoClassification(config)
    torch.manual_seed(0)
    expected = VTN("shallow_conv", pretrained=False, hidden_dim=32, num_heads=4)
    assert model.config.num_labels == expected.num_classes
    for name, weight in expected.state_dict().items():
        assert torch.equal(weight, model.vtn.state_dict()[name]), name


@dataclass(frozen=True)
class GatedArguments(FusedModelArguments):
    width: int = 4


@MODEL_REGISTRY.register("GatedForFolders")
class GatedForFolders(vtn.FrameAverage):
    arguments_type = GatedArguments

    def __init__(self, *groups: Any, **fields: Any) -> None:
        super().__init__(*groups, **fields)
        self.gate = nn.Linear(self.feature_dim, self.arguments.width)  # type: ignore[attr-defined]


def test_a_users_class_keeps_its_own_arguments(tmp_path: Path) -> None:
    backbone = vtn.BackboneConfig("shallow_conv", pretrained=False, args={"feature_dim": 8})
    GatedForFolders(backbone, num_classes=3, width=5).save_pretrained(tmp_path / "a")
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "a")
    assert model.vtn.gate.out_features == 5
    model.save_pretrained(tmp_path / "b")
    assert GatedForFolders.from_pretrained(tmp_path / "b").arguments.width == 5
    with pytest.raises(CheckpointError, match=r"create_model, or GatedForFolders\.from_pretrained"):
        VTN.from_pretrained(tmp_path / "b")
    VTNForVideoClassification.from_vtn(model.vtn).save_pretrained(tmp_path / "c")
    assert AutoConfig.from_pretrained(tmp_path / "c").arguments["width"] == 5
    with pytest.raises(ModelError, match=r"^widht: the model has no such argument; did you mean width"):
        VTNConfig("GatedForFolders", widht=5)


def test_typing_errors_in_a_configuration_are_named() -> None:
    with pytest.raises(ModelError, match=r"hiden_dim: .* no such argument; did you mean hidden_dim"):
        VTNConfig(hiden_dim=32)
    with pytest.raises(ModelError, match="num_classes = 3: must be 2, the number of class names"):
        VTNConfig(num_classes=3, class_names=["a", "b"])


def test_a_model_in_memory_is_wrapped(tmp_path: Path) -> None:
    network = tiny()
    model = VTNForVideoClassification.from_vtn(network)
    assert model.vtn is network
    model.save_pretrained(tmp_path)
    assert torch.equal(VTN.from_pretrained(tmp_path).cls_token, network.cls_token)
    with pytest.raises(InputError, match="model is a VTNForVideoClassification: must be a model such as"):
        VTNForVideoClassification.from_vtn(model)


def test_resuming_reads_the_configuration_by_the_base_class(published: Path) -> None:
    """As the trainer does, for the version in it."""
    assert PretrainedConfig.from_json_file(published / "config.json").transformers_version is None


def test_a_processor_has_options_of_its_own(published: Path, videos: dict[int, Path]) -> None:
    processor = AutoVideoProcessor.from_pretrained(published, num_frames=3)
    assert type(processor) is VTNVideoProcessor
    assert processor(videos[70])["pixel_values_videos"].shape[1] == 3
    assert processor(videos[70], fps=2)["pixel_values_videos"].shape[1] == 14
    with pytest.raises(InputError, match="num_frames = 3, fps = 2: give one of the two"):
        processor(videos[70], num_frames=3, fps=2)


def test_certain_multi_label_scores_of_several_views_stay_finite() -> None:
    """A score of 1 in float32 has no logit; the mean of two equal views has that of each."""
    config = VTNConfig(
        backbone={"name": "shallow_conv", "pretrained": False},
        hidden_dim=32,
        num_heads=4,
        num_layers=1,
        num_labels=3,
        problem_type="multi_label_classification",
    )
    model = VTNForVideoClassification(config).eval()
    labels, views = torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 2, 4, 3, 64, 64)
    with torch.no_grad():
        model.vtn.mlp_head[-1].bias.copy_(torch.tensor([20.0, -110.0, 0.0]))
        both, one = model(views, labels=labels), model(views[:, 0], labels=labels)
    torch.testing.assert_close(both.logits, one.logits)
    torch.testing.assert_close(both.loss, one.loss)
