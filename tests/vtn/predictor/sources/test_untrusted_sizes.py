"""Files of weights from elsewhere: none takes more memory or time than its own size suggests."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vtn.predictor.source as source_module
from slowfast.checkpoint.storage import read_checkpoint
from slowfast.errors import CheckpointError, ConfigError
from tests.support.inference.changed_sources import changed_checkpoint, changed_folder
from vtn import Predictor, create_model
from vtn.predictor.source import load_source


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
    monkeypatch.setattr(source_module, "build_trained_model", lambda *_, **__: pytest.fail("was built"))
    path = changed_checkpoint(checkpoint, tmp_path / "large.pyth", **changes)
    with pytest.raises(CheckpointError, match="but the file has far fewer"):
        load_source(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder__num_layers": 10**9},
        {"backbone__args": {"depth": 10**9}},
        {"backbone__args": {"depths": [2, [10**9]]}},
        {"backbone__args": {"stages": [{"depth": 10**9}]}},
    ],
)
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


def test_a_damaged_archive_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = checkpoint.read_bytes()
    with zipfile.ZipFile(checkpoint) as archive:
        entries = archive.start_dir
    damaged = tmp_path / "damaged.pyth"
    contents = [content[:entries]]  # cut off
    for lost in (slice(entries, entries + 40), slice(entries + 46, entries + 60)):
        contents.append(content[: lost.start] + b"\xff" * (lost.stop - lost.start) + content[lost.stop :])
    for changed in contents:
        damaged.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"damaged\.pyth is damaged: .*; copy or download it again"):
            load_source(damaged)


def test_references_in_a_configuration_do_not_unfold(checkpoint: Path, tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"] + [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 40)]
    content = {**read_checkpoint(checkpoint), "cfg": "\n".join(lines)}
    torch.save(content, tmp_path / "bomb.pyth")
    with pytest.raises(CheckpointError, match="has more than 100000 values"):
        load_source(tmp_path / "bomb.pyth")


def test_a_configuration_that_contradicts_itself_is_an_error_of_the_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    """A section that is a number as well ended in a TypeError."""
    content = {**read_checkpoint(checkpoint), "cfg": "MODEL: 3\nMODEL.ARCH: VTN\n"}
    torch.save(content, tmp_path / "contradicts.pyth")
    with pytest.raises(ConfigError, match=r"(?s)contradicts\.pyth.*MODEL"):
        load_source(tmp_path / "contradicts.pyth")


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 10**9}, "num_classes = 1000000000: must be 131,072 or less"),
        ({"encoder__num_layers": 10**5}, "but the file has far fewer"),
        ({"encoder__intermediate_size": 10**5}, "but the file has far fewer"),
        ({"class_names": 5}, "class_names must be a list of texts"),
        ({"class_names": [1, None, [2]]}, "class_names must be a list of texts"),
        ({"evaluation": "x"}, "evaluation must be an object"),
        ({"frame_mean": "abc"}, "frame_mean must be three numbers"),
        ({"frame_std": [0.5, 0.5]}, "frame_std must be three numbers"),
    ],
)
def test_a_folder_is_checked_however_it_is_loaded(
    changes: dict[str, Any], message: str, published: Path, tmp_path: Path
) -> None:
    folder = changed_folder(published, tmp_path / "changed", **changes)
    for load in (load_source, create_model):
        with pytest.raises(CheckpointError, match=message):
            load(folder)


@pytest.mark.parametrize(
    "normalization", [5, {}, {"mean": 0.5, "std": [1, 1, 1]}, {"mean": [0.5], "std": [1.0]}]
)
def test_a_checkpoint_may_have_another_entry_called_normalization(
    normalization: Any, checkpoint: Path, tmp_path: Path
) -> None:
    torch.save({**read_checkpoint(checkpoint), "normalization": normalization}, tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match=r"other\.pyth: normalization: mean must be three numbers"):
        load_source(tmp_path / "other.pyth")
