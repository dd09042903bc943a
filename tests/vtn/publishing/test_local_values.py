"""Publication of a checkpoint whose configuration names files of the computer that trained, or code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fvcore.common.config import CfgNode

import vtn
from slowfast.checkpoint.storage import read_checkpoint
from slowfast.config import load_config
from slowfast.config.values import flatten
from slowfast.errors import CheckpointError, ModelError, SlowFastError
from slowfast.models import MODEL_REGISTRY, build_model
from tests.support.inference.changed_sources import changed_checkpoint
from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN, trained_checkpoint
from vtn.cli.publish import main
from vtn.publishing.publish import publish

SECRET = "/home/alice/secret"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny VTN."""
    folder = tmp_path_factory.mktemp("run")
    return trained_checkpoint(tiny_config(folder, folder / "run", *SMALL_VTN, "TRAIN.ENABLE", False), folder)


def changed(checkpoint: Path, target: Path, values: Mapping[str, Any]) -> Path:
    """Writes a copy of a checkpoint with other values in its configuration, by dotted key."""
    changes = {key.replace(".", "__"): value for key, value in values.items()}
    return changed_checkpoint(checkpoint, target, **changes)


def texts_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns key -> a path, for all keys of texts; in a list where the value is a list of texts."""
    lists = {
        key: [SECRET]
        for key, value in config.items()
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    }
    return {**{key: SECRET for key, value in config.items() if isinstance(value, str)}, **lists}


def test_no_key_of_the_configuration_publishes_a_path(checkpoint: Path, tmp_path: Path) -> None:
    """Keys of the model that a path cannot be the value of are refused; all others are not published."""
    values = texts_in(flatten(yaml.safe_load(read_checkpoint(checkpoint)["cfg"])))
    assert {"TEST.SAVE_RESULTS_PATH", "DEMO.INPUT_VIDEO", "IMPORTS", "VTN.BACKBONE.NAME"} <= {*values}
    model = {key: value for key, value in values.items() if key.split(".")[0] in ("MODEL", "VTN", "NONLOCAL")}
    refused = set()
    for key, value in model.items():
        try:
            publish(changed(checkpoint, tmp_path / "changed.pyth", {key: value}), tmp_path / key)
        except SlowFastError:
            refused.add(key)
    assert {"VTN.BACKBONE.NAME", "VTN.BACKBONE.LORA.TARGETS", "MODEL.MODEL_NAME", "MODEL.ARCH"} <= refused
    evaluation = {"DATA.ENSEMBLE_METHOD", "DATA.INTERPOLATION", "DATA.NORMALIZATION"}  # with choices
    kept = {key: value for key, value in values.items() if key not in refused | evaluation}
    published = publish(changed(checkpoint, tmp_path / "changed.pyth", kept), tmp_path / "out")
    assert published.folder is not None
    for file in (published.checkpoint, *published.folder.iterdir()):
        assert b"alice" not in file.read_bytes()


def test_the_published_file_gives_the_same_scores(checkpoint: Path, tmp_path: Path) -> None:
    published = publish(changed(checkpoint, tmp_path / "a.pyth", {"DEMO.INPUT_VIDEO": SECRET}), tmp_path)
    frames = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    expected = vtn.Predictor(checkpoint, device="cpu")(frames).scores
    for source in (published.checkpoint, published.folder):
        assert source is not None
        found = vtn.Predictor(source, device="cpu")(frames)
        assert (found.scores == expected).all()


def test_networks_of_the_framework_keep_their_sections(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["X3D.DIM_C1", "8", "X3D.DIM_C5", "64", "MODEL.NUM_CLASSES", "3", "X3D.WIDTH_FACTOR", "1.0"]
    cfg = load_config("X3D_M", [*sizes, "TRAIN.ENABLE", "False", "TEST.ENABLE", "False"])
    weights = {"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump()}
    torch.save(weights, tmp_path / "x3d.pyth")
    published = publish(tmp_path / "x3d.pyth", tmp_path / "out")
    assert published.folder is None
    assert "DIM_C5: 64" in read_checkpoint(published.checkpoint)["cfg"]
    assert main([str(tmp_path / "x3d.pyth"), str(tmp_path / "other")]) == 0
    assert "no folder for the hub: the model is not one of vtn" in capsys.readouterr().err


@pytest.mark.parametrize(
    "values",
    [
        {"VTN.BACKBONE.NAME": "hf:/home/alice/model"},
        {"VTN.BACKBONE.ARGS": {"img_size": 32, "file": SECRET}},
        {"VTN.BACKBONE.LORA.TARGETS": [SECRET]},
    ],
)
def test_a_path_that_the_model_needs_is_not_published_silently(
    values: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    path = changed(checkpoint, tmp_path / "changed.pyth", values)
    with pytest.raises(CheckpointError, match="of this computer, which is not published; give"):
        publish(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_backbone_on_a_hub_is_not_asked_for_unless_the_user_names_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = changed(checkpoint, tmp_path / "changed.pyth", {"VTN.BACKBONE.NAME": "hf:somebody/model"})
    with pytest.raises(CheckpointError, match="if you trust it, write --backbone hf:somebody/model"):
        publish(path, tmp_path / "out")
    assert main([str(path), str(tmp_path / "out"), "--backbone", "test_vit"]) == 0


def test_modules_that_a_checkpoint_names_are_imported_on_request_only(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "own_model_to_publish.py"
    module.write_text(
        "from pathlib import Path\nfrom slowfast.models.build import MODEL_REGISTRY\nfrom vtn import VTN\n"
        "Path(__file__).with_suffix('.imported').touch()\n"
        "@MODEL_REGISTRY.register()\nclass OwnModelToPublish(VTN):\n    pass\n"
    )
    base = tmp_path / "base.yaml"
    base.write_text("MODEL: {NUM_CLASSES: nonsense}")
    values = {
        "IMPORTS": [str(module)], "_BASE_": str(base), "MODEL.MODEL_NAME": "OwnModelToPublish",
    }  # fmt: skip
    path = changed(checkpoint, tmp_path / "own.pyth", values)
    assert main([str(path), str(tmp_path / "out")]) == 1
    assert "give the file that registers it by --imports FILE" in capsys.readouterr().err
    assert not module.with_suffix(".imported").exists()
    assert main([str(path), str(tmp_path / "out"), "--imports", str(module)]) == 0
    assert module.with_suffix(".imported").exists()
    assert (tmp_path / "out/own/config.json").is_file()


def test_a_model_that_no_folder_can_describe_is_published_as_a_file(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its constructor takes the configuration; the folder was written, and could not be loaded."""

    @MODEL_REGISTRY.register()
    class OfConfiguration(vtn.VTN):
        def __init__(self, cfg: CfgNode) -> None:
            super().__init__(**self.arguments_type.from_config(cfg).without_weights().as_keywords())

        @classmethod
        def from_config(cls, cfg: CfgNode, **_: Any) -> OfConfiguration:
            return cls(cfg)

    path = changed(checkpoint, tmp_path / "own.pyth", {"MODEL.MODEL_NAME": "OfConfiguration"})
    assert main([str(path), str(tmp_path / "out")]) == 0
    assert "a subclass whose constructor takes the same arguments" in capsys.readouterr().err
    assert [file.suffix for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")] == [
        ".pyth"
    ]
    (tmp_path / "own.yaml").write_text(read_checkpoint(path)["cfg"])
    with pytest.raises(ModelError, match="OfConfiguration cannot be saved as a folder, since its"):
        OfConfiguration(load_config(tmp_path / "own.yaml")).save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_folder_is_not_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    folder = publish(checkpoint, tmp_path, name="TINY").folder
    assert folder is not None
    with pytest.raises(CheckpointError, match=r"TINY: is a folder that is already published; give a checkp"):
        publish(folder, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"is a folder; give a checkpoint \(\.pyth\), or weights such"):
        publish(tmp_path, tmp_path / "out")
