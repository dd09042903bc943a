"""Files of weights from elsewhere: nothing that they name is imported, read or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast.errors import CheckpointError, ConfigError
from slowfast.log import printable
from slowfast.registry import REGISTRY_OF_KEY
from tests.support.inference.changed_sources import changed_checkpoint, changed_folder
from vtn import Predictor
from vtn.explaining.explain import find_label
from vtn.predictor.source import load_source

OWN_MODEL = """
from pathlib import Path
from slowfast.models.build import MODEL_REGISTRY
from vtn import VTN

Path(__file__).with_suffix(".imported").touch()


@MODEL_REGISTRY.register()
class {name}(VTN):
    pass
"""


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
    "name",
    [
        *("hf:somebody/model", "hf:/etc", "hf-hub:somebody/model", "local-dir:/tmp/model"),
        "detectron2:/tmp/config.yaml",
    ],
)
@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_backbone_in_a_folder_or_on_a_hub_is_not_looked_up(
    name: str, form: str, checkpoint: Path, published: Path, tmp_path: Path
) -> None:
    if form == "file":
        source = changed_checkpoint(checkpoint, tmp_path / "changed.pyth", VTN__BACKBONE__NAME=name)
    else:
        source = changed_folder(published, tmp_path / "changed", backbone__name=name)
    with pytest.raises(CheckpointError, match=f"its backbone '{name}' is described by another file"):
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
        {"options": [["/tmp/file"]]},
        {"options": [{"file": "/tmp/file"}]},
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
    assert found.to_csv().splitlines()[0].split(",")[4:] == names
    assert find_label(predictor.class_names, names[0]) == 0
    assert printable(found.describe()) == found.describe()
