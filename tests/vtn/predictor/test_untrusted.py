"""Files of weights from elsewhere: nothing in them is acted on, and none takes more memory than it holds."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fvcore.common.config import CfgNode

import vtn.predictor.source as source_module
from slowfast.checkpoint.storage import read_checkpoint
from slowfast.errors import CheckpointError, ConfigError
from slowfast.registry import REGISTRY_OF_KEY
from vtn import Predictor
from vtn.explaining.explain import find_label
from vtn.predictor.source import load_source
from vtn.predictor.texts import printable

OWN_MODEL = """
from pathlib import Path
from slowfast.models.build import MODEL_REGISTRY
from vtn import VTN

Path(__file__).with_suffix(".imported").touch()


@MODEL_REGISTRY.register()
class {name}(VTN):
    pass
"""


def changed_checkpoint(checkpoint: Path, target: Path, **changes: Any) -> Path:
    """Writes a copy whose configuration has other values; returns its path.

    ``changes`` are sections and keys, joined by ``__``.
    """
    content = read_checkpoint(checkpoint)
    config = yaml.safe_load(content["cfg"])
    for key, value in changes.items():
        *sections, leaf = key.split("__")
        node = config
        for section in sections:
            node = node[section]
        node[leaf] = value
    torch.save({**content, "cfg": yaml.safe_dump(config)}, target)
    return target


def changed_folder(published: Path, target: Path, **changes: Any) -> Path:
    """Copies a published folder with other values in ``config.json``; returns its path."""
    shutil.copytree(published, target)
    file = target / "config.json"
    config = json.loads(file.read_text())
    for key, value in changes.items():
        *sections, leaf = key.split("__")
        node = config
        for section in sections:
            node = node[section]
        node[leaf] = value
    file.write_text(json.dumps(config))
    return target


def test_what_a_configuration_names_is_neither_imported_nor_read_nor_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "evil.py"
    module.write_text("raise AssertionError('imported')")
    base = tmp_path / "base.yaml"
    base.write_text("MODEL: {NUM_CLASSES: nonsense}")
    path = changed_checkpoint(
        checkpoint,
        tmp_path / "changed.pyth",
        IMPORTS=[str(module)],
        _BASE_=str(base),
        OUTPUT_DIR=str(tmp_path / "output"),
        DATA__PATH_TO_DATA_DIR=str(tmp_path / "data"),
        DATA__CLASS_NAMES=str(tmp_path / "names.json"),
        DATA__FEATURES=str(tmp_path / "features"),
        TRAIN__CHECKPOINT_FILE_PATH="https://example.invalid/weights.pyth",
        TENSORBOARD__LOG_DIR=str(tmp_path / "board"),
        VTN__BACKBONE__CHECKPOINT=str(tmp_path / "backbone.pyth"),
        VTN__BACKBONE__PRETRAINED=True,
        VTN__LONGFORMER__CHECKPOINT="https://example.invalid/longformer",
    )
    before = sorted(tmp_path.rglob("*"))
    model = load_source(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert model.arguments.backbone.checkpoint == model.arguments.encoder.checkpoint == ""
    assert torch.equal(model.cls_token, load_source(checkpoint).cls_token)


def test_a_model_of_the_users_own_is_imported_on_request_only(
    checkpoint: Path, published: Path, tmp_path: Path
) -> None:
    module = tmp_path / "own_model_of_test.py"
    module.write_text(OWN_MODEL.format(name="OwnOfTest"))
    file = changed_checkpoint(
        checkpoint, tmp_path / "own.pyth", MODEL__MODEL_NAME="OwnOfTest", IMPORTS=[str(module)]
    )
    folder = changed_folder(published, tmp_path / "own", architecture="OwnOfTest")
    for source in (file, folder):
        with pytest.raises(CheckpointError, match=r"(?s)OwnOfTest.*--imports FILE"):
            load_source(source)
    assert not module.with_suffix(".imported").exists()
    model = load_source(file, imports=[str(module)])
    model.save_pretrained(tmp_path / "saved")
    for loaded in (model, load_source(tmp_path / "saved")):
        assert type(loaded).__name__ == "OwnOfTest"


def test_a_score_activation_of_the_users_own_names_the_remedy(checkpoint: Path, tmp_path: Path) -> None:
    assert "MODEL.HEAD_ACT" in REGISTRY_OF_KEY
    path = changed_checkpoint(
        checkpoint, tmp_path / "own.pyth", MODEL__HEAD_ACT="own", IMPORTS=["own_activation"]
    )
    with pytest.raises(ConfigError, match=r"(?s)MODEL\.HEAD_ACT.*'own'.*IMPORTS = \['own_activation'\].*"):
        load_source(path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("hf:somebody/model", "hf:somebody/model"),
        ("hf:/etc", "hf:/etc"),
        ("hf-hub:somebody/model", "hf-hub:somebody/model"),
        ("local-dir:/tmp/model", "local-dir:/tmp/model"),
        ("detectron2:/tmp/config.yaml", "detectron2:/tmp/config.yaml"),
    ],
)
@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_backbone_in_a_folder_or_on_a_hub_is_not_looked_up(
    name: str, shown: str, form: str, checkpoint: Path, published: Path, tmp_path: Path
) -> None:
    if form == "file":
        source = changed_checkpoint(checkpoint, tmp_path / "changed.pyth", VTN__BACKBONE__NAME=name)
    else:
        source = changed_folder(published, tmp_path / "changed", backbone__name=name)
    with pytest.raises(CheckpointError, match=f"its backbone '{shown}' is described by another file"):
        load_source(source)


def test_a_backbone_that_the_user_writes_is_used(published: Path, tmp_path: Path, checkpoint: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", backbone__name="hf-hub:somebody/model")
    file = changed_checkpoint(checkpoint, tmp_path / "a.pyth", VTN__BACKBONE__NAME="hf:somebody/model")
    for source in (folder, file):
        model = load_source(source, backbone="test_vit")
        assert torch.equal(model.cls_token, load_source(published).cls_token)


@pytest.mark.parametrize(
    "args",
    [
        {"checkpoint_path": "weights"},
        {"pretrained": True},
        {"pretrained_cfg": {"file": "weights"}},
        {"act_layer": "/tmp/file"},
        {"options": ["https://example.invalid"]},
    ],
)
def test_arguments_of_a_backbone_that_load_files_are_refused(
    args: dict[str, Any], checkpoint: Path, published: Path, tmp_path: Path
) -> None:
    file = changed_checkpoint(checkpoint, tmp_path / "a.pyth", VTN__BACKBONE__ARGS={"img_size": 32, **args})
    folder = changed_folder(published, tmp_path / "changed", backbone__args={"img_size": 32, **args})
    for source in (file, folder):
        with pytest.raises(CheckpointError, match="must not name files or addresses"):
            load_source(source)


@pytest.mark.parametrize(
    "changes",
    [
        {"VTN__LONGFORMER__INTERMEDIATE_SIZE": 10**5},
        {"VTN__LONGFORMER__NUM_HIDDEN_LAYERS": 10**5, "VTN__LONGFORMER__ATTENTION_WINDOW": [4]},
        {"VTN__BACKBONE__ARGS": {"img_size": 32, "depth": 10**4}},
        {"VTN__BACKBONE__ARGS": {"img_size": 32, "embed_dim": 2**17}},
        {"VTN__HEAD__MLP_DIM": 2**17},
    ],
)
def test_sizes_are_compared_with_the_file_before_memory_is_taken(
    changes: dict[str, Any], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "build_model", lambda *_, **__: pytest.fail("was built"))
    path = changed_checkpoint(checkpoint, tmp_path / "large.pyth", **changes)
    with pytest.raises(CheckpointError, match="but the file has far fewer"):
        load_source(path)


def test_sizes_of_a_folder_are_compared_with_its_weights(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "large", encoder__intermediate_size=10**5)
    with pytest.raises(CheckpointError, match="but the file has far fewer"):
        load_source(folder)


@pytest.mark.parametrize("changes", [{"encoder__num_layers": 10**9}, {"backbone__args": {"depth": 10**9}}])
def test_numbers_that_are_not_sizes_of_a_network(
    changes: dict[str, Any], published: Path, tmp_path: Path
) -> None:
    """Libraries make lists of such numbers, before the first weight."""
    folder = changed_folder(published, tmp_path / "large", **changes)
    with pytest.raises(CheckpointError, match="= 1000000000: must be 131,072 or less"):
        load_source(folder)


def test_weights_that_repeat_one_value_do_not_count(checkpoint: Path, tmp_path: Path) -> None:
    """A small file may claim a tensor of any size."""
    size, width, classes = 2**17, 32, 3
    content = read_checkpoint(checkpoint)
    config = yaml.safe_load(content["cfg"])
    config["VTN"]["HEAD"]["MLP_DIM"] = size
    shapes = {"1.weight": (size, width), "1.bias": (size,), "4.weight": (classes, size)}
    claimed = {f"mlp_head.{name}": torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    assert {*claimed} <= {*content["model_state"]}
    state = {**content["model_state"], **claimed}
    torch.save({"model_state": state, "cfg": yaml.safe_dump(config)}, tmp_path / "claims.pyth")
    assert (tmp_path / "claims.pyth").stat().st_size < 10_000_000
    with pytest.raises(CheckpointError, match="but the file has far fewer"):
        load_source(tmp_path / "claims.pyth")


def test_a_compressed_archive_is_not_unpacked(checkpoint: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.pyth"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="is compressed and would unpack to"):
        load_source(packed)


def test_a_damaged_archive(checkpoint: Path, tmp_path: Path) -> None:
    content = checkpoint.read_bytes()
    with zipfile.ZipFile(checkpoint) as archive:
        entries = archive.start_dir
    damaged = tmp_path / "damaged.pyth"
    for lost in (slice(entries, entries + 40), slice(entries + 46, entries + 60)):
        damaged.write_bytes(content[: lost.start] + b"\xff" * (lost.stop - lost.start) + content[lost.stop :])
        assert zipfile.is_zipfile(damaged)
        with pytest.raises(CheckpointError, match=r"damaged\.pyth is damaged: .*; copy or download it again"):
            load_source(damaged)


def test_references_in_a_configuration_do_not_unfold(checkpoint: Path, tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"] + [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 40)]
    content = {**read_checkpoint(checkpoint), "cfg": "\n".join(lines)}
    torch.save(content, tmp_path / "bomb.pyth")
    with pytest.raises(CheckpointError, match="has more than 20000 values"):
        load_source(tmp_path / "bomb.pyth")


def test_sizes_of_frames_are_limited(published: Path, tmp_path: Path) -> None:
    config = json.loads((published / "config.json").read_text())
    evaluation = {**config["evaluation"], "DATA.TEST_CROP_SIZE": 10**6, "OUTPUT_DIR": "x"}
    folder = changed_folder(published, tmp_path / "large", evaluation=evaluation)
    with pytest.raises(ConfigError, match="OUTPUT_DIR = 'x': must be one of DATA"):
        Predictor(folder, device="cpu")
    del evaluation["OUTPUT_DIR"]
    folder = changed_folder(published, tmp_path / "larger", evaluation=evaluation)
    with pytest.raises(ConfigError, match="TEST_CROP_SIZE"):
        Predictor(folder, device="cpu")


def test_class_names_cannot_change_a_terminal(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "names", class_names=["a\x1b[2Jb", "c", "d"])
    assert Predictor(folder, device="cpu").class_names == ["a\ufffd[2Jb", "c", "d"]


def test_names_of_any_language_stay_as_they_are(published: Path, videos: Path, tmp_path: Path) -> None:
    """Programs join results by these names with ``id2label`` of the same folder."""
    names = ["می\u200cروم", "prix\xa0fixe", "👩\u200d🚀"]
    predictor = Predictor(changed_folder(published, tmp_path / "names", class_names=names), device="cpu")
    assert predictor.class_names == names
    found = predictor(videos / "12.mp4")
    assert json.loads(found.to_json())["classes"] == names
    assert found.to_csv().splitlines()[0].split(",")[2:] == names
    assert find_label(predictor.class_names, names[0]) == 0
    assert printable(found.describe()) == found.describe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "has no config.json that can be read"),
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


def test_a_model_of_another_kind(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", architecture="Tiny")
    with pytest.raises(CheckpointError, match="is a Tiny, which does not encode single frames"):
        load_source(folder)


def test_arguments_of_another_kind(published: Path, tmp_path: Path) -> None:
    folder = changed_folder(published, tmp_path / "changed", num_classes="many")
    with pytest.raises(CheckpointError, match=r"config\.json: .* was changed"):
        load_source(folder)


def test_weights_without_a_configuration(checkpoint: Path, cfg: CfgNode, tmp_path: Path) -> None:
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

    monkeypatch.setattr(source_module, "hf_hub_download", download)
    monkeypatch.setattr("vtn.hub.hf_hub_download", download)
    monkeypatch.setattr(
        "huggingface_hub.hub_mixin.hf_hub_download",
        lambda repo_id, filename, **_: download(repo_id, filename),
    )
    model = load_source("somebody/model")
    assert torch.equal(model.cls_token, load_source(published).cls_token)
    assert {name for name, _ in asked} == {"somebody/model"}
