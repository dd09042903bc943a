"""Publication of a checkpoint, and loading of what was published: the file, the hub's folder, the command."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vtn
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import class_names_in, read_checkpoint, save_checkpoint
from slowfast.config import load_config
from slowfast.errors import CheckpointError, InputError, ModelError
from slowfast.models import build_model
from tests.support.tiny_models import FOLDER_FILES, TINY, tiny, tiny_average
from vtn.cli.publish import main
from vtn.publishing import replacement
from vtn.publishing.publish import publish
from vtn.publishing.zoo import file_sha256

NAMES = ("up", "down", "left", "right", "near", "far", "in", "out")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a quickstart run, with class names."""
    folder = tmp_path_factory.mktemp("run")
    cfg = load_config("QUICKSTART", ["DATA.PATH_TO_DATA_DIR", "/my/secret", "DATA.MEAN", "[0.5,0.4,0.3]"])
    model = build_model(cfg)
    optimizer = torch.optim.AdamW(model.parameters()).state_dict()
    state = TrainingState(
        TrainingProgress(3, 0), model.state_dict(), optimizer, {}, cfg.dump(), 1, 16, "f", class_names=NAMES
    )
    return save_checkpoint(folder, state)


def test_weights_are_published_and_local_paths_are_not(trained: Path, tmp_path: Path) -> None:
    published = publish(trained, tmp_path, name="MINE")
    assert published.sha256 == file_sha256(published.checkpoint)
    assert published.checkpoint.name == f"MINE-{published.sha256[:8]}.pyth"
    content = read_checkpoint(published.checkpoint)
    assert content["class_names"] == list(NAMES)
    assert content["normalization"] == {"mean": [0.5, 0.4, 0.3], "std": [0.225, 0.225, 0.225]}
    assert content.keys().isdisjoint({"optimizer_state", "epoch", "seed", "data_fingerprint"})
    assert "secret" not in content["cfg"]
    assert not list(tmp_path.glob("MINE.pyth"))


@pytest.mark.parametrize("name", ["", "other"])
def test_other_files_in_the_folder_stay_as_they_are(trained: Path, tmp_path: Path, name: str) -> None:
    """Also when a checkpoint is published to its own folder, under its own name."""
    source = Path(shutil.copy(trained, tmp_path))
    (tmp_path / "other.pyth").write_text("another file")
    before = source.read_bytes()
    published = publish(source, tmp_path, name=name)
    assert source.read_bytes() == before
    assert (tmp_path / "other.pyth").read_text() == "another file"
    assert published.folder is not None
    found = {path.name for path in tmp_path.iterdir()}
    record = f".{name or source.stem}.published.json"
    assert found == {source.name, "other.pyth", published.checkpoint.name, published.folder.name, record}


def test_published_weights_cannot_be_overwritten_by_themselves(trained: Path, tmp_path: Path) -> None:
    folder = publish(trained, tmp_path, name="MINE").folder
    assert folder is not None
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: would be overwritten; give another name"):
        publish(weights, tmp_path, name="MINE", config="QUICKSTART")
    assert weights.read_bytes() == before


@pytest.mark.parametrize("name", ["..", "x/.."])
def test_a_name_cannot_lead_out_of_the_folder(trained: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"--name.*without '\.\.'"):
        publish(trained, tmp_path / "out", name=name)
    assert not (tmp_path / "out").exists()


def test_a_published_checkpoint_gives_the_model(trained: Path, tmp_path: Path) -> None:
    published = publish(trained, tmp_path)
    model: Any = vtn.create_model("QUICKSTART", checkpoint=published.checkpoint)
    assert model.class_names == NAMES
    expected = read_checkpoint(trained)["model_state"]
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_weights_keep_their_normalisation_under_another_configuration(trained: Path, tmp_path: Path) -> None:
    """The one that is recorded with them counts, as it does for predictions of the same file."""
    first = publish(trained, tmp_path / "first").checkpoint
    again = publish(first, tmp_path / "again", config="QUICKSTART").checkpoint
    assert read_checkpoint(again)["normalization"]["mean"] == [0.5, 0.4, 0.3]


def test_changed_weights_are_refused(trained: Path, tmp_path: Path) -> None:
    path = publish(trained, tmp_path).checkpoint
    content = read_checkpoint(path)
    content["model_state"]["cls_token"][0, 0, 0] += 1
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="is damaged or was changed: the hash of its weights is"):
        vtn.create_model("QUICKSTART", checkpoint=path)


@torch.no_grad()
def test_the_folder_gives_the_model(trained: Path, tmp_path: Path) -> None:
    folder = publish(trained, tmp_path, name="MINE").folder
    assert folder is not None
    assert {path.name for path in folder.iterdir()} == FOLDER_FILES
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644, "others must read it"
    model = vtn.VTN.from_pretrained(folder)
    assert not model.training
    assert (model.class_names, model.frame_mean) == (NAMES, (0.5, 0.4, 0.3))
    clip = torch.randn(1, 3, 4, 32, 32)
    expected = vtn.create_model("QUICKSTART", checkpoint=trained)(clip)
    torch.testing.assert_close(model(clip), expected)
    weights = folder / "model.safetensors"
    assert class_names_in(read_checkpoint(weights), weights) == NAMES


def test_the_command_publishes(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({name.upper(): index for index, name in enumerate(NAMES)}))
    weights = tmp_path / "weights.pyth"
    torch.save(read_checkpoint(trained)["model_state"], weights)
    assert main([str(weights), str(tmp_path / "out")]) == 1
    assert "holds no configuration; give the one that it was trained with (--cfg)" in capsys.readouterr().err
    assert (
        main([str(weights), str(tmp_path / "out"), "--cfg", "QUICKSTART", "--class-names", str(classes)]) == 0
    )
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "out").glob("weights-*.pyth")
    assert str(path) in printed
    assert file_sha256(path) in printed
    assert class_names_in(read_checkpoint(path), path)[0] == "UP"


def test_a_folder_that_cannot_be_written_is_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([str(trained), str(tmp_path / "file")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{tmp_path / 'file'}: cannot be written (File exists); give another folder")


def test_a_folder_without_permission_is_not_to_be_made_room_in(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(prefix: str, dir: Path, ignore_cleanup_errors: bool) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(dir / f"{prefix}x1"))

    monkeypatch.setattr(replacement, "tempfile", SimpleNamespace(TemporaryDirectory=refuse))
    message = rf"^{tmp_path}: cannot be written \(Permission denied\); give another folder$"
    with pytest.raises(CheckpointError, match=message):
        publish(trained, tmp_path)


@contextmanager
def small_files() -> Iterator[None]:
    """Limits files to 20 kB: a longer write fails as it would on a full disk.

    Not a fixture, which ends after pytest has written the outcome of a test: perhaps into a longer file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_reported_and_no_file_is_left(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_files():
        assert main([str(trained), str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}: cannot be written (File too large); make room there, or give another folder" in line
    assert not list(tmp_path.iterdir())
    message = r"could not save .*model\.safetensors: .*too large"
    with small_files(), pytest.raises(CheckpointError, match=message):
        tiny().save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_page_of_a_folder_names_the_class_that_loads_it(tmp_path: Path) -> None:
    tiny_average().save_pretrained(tmp_path)
    assert "model = vtn.FrameAverage.from_pretrained(" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("backbone", "given", "field"),
    [
        ("vit_tiny_patch16_224", {"backbone_args": {"act_layer": nn.ReLU}}, "backbone.args"),
        ("shallow_conv", {"mlp_dim": np.int64(16)}, "head.mlp_dim"),
    ],
)
def test_an_argument_that_json_cannot_hold_is_refused(
    tmp_path: Path, backbone: str, given: dict[str, Any], field: str
) -> None:
    """Left out of config.json, it would silently have its default value in the loaded model."""
    tiny().save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    model = vtn.VTN(backbone, **{**TINY, "pretrained": False, **given})
    with pytest.raises(ModelError, match=rf"{field}: config\.json cannot describe the value; give plain"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
