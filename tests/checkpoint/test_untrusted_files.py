"""Checkpoint files of others: whatever they contain, reading ends soon, with weights or with an error."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from slowfast.checkpoint.storage import class_names_in, read_checkpoint, read_training_state
from slowfast.checkpoint.weights import load_model_weights
from slowfast.errors import CheckpointError
from tests.support.tiny import Tiny


def saved(folder: Path, content: dict[Any, Any]) -> Path:
    path = folder / "weights.pyth"
    torch.save(content, path)
    return path


def nested(times: int) -> list[Any]:
    """Returns lists of ten of the lists before: few bytes in a file, 10 ** times values when written out."""
    value: list[Any] = ["x"] * 10
    for _ in range(times):
        value = [value] * 10
    return value


def test_a_file_that_contains_itself_is_refused(tmp_path: Path) -> None:
    content: dict[Any, Any] = {}
    content["model"] = content
    with pytest.raises(CheckpointError, match=r"weights\.pyth contains no weights; its entries are model"):
        load_model_weights(Tiny(), saved(tmp_path, content))


def test_names_that_would_be_endless_texts_are_cut(tmp_path: Path) -> None:
    path = saved(tmp_path, {"class_names": nested(30), "model_state": Tiny().state_dict()})
    assert load_model_weights(Tiny(), path) == ()
    key: tuple[Any, ...] = ("x",) * 10
    for _ in range(6):
        key = (key,) * 10
    with pytest.raises(CheckpointError) as error:
        load_model_weights(Tiny(), saved(tmp_path, {key: 1, "y" * 1000: 2}))
    assert len(str(error.value)) < 500


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_entries_that_are_not_weights_of_a_model_are_left_out_or_refused(tmp_path: Path) -> None:
    state = Tiny().state_dict()
    name = next(name for name, weight in state.items() if weight.ndim == 2)
    assert load_model_weights(Tiny(), saved(tmp_path, {"model_state": {**state, 7: torch.ones(2)}})) == ()
    for odd in (state[name].to_sparse(), state[name].to("meta")):
        with pytest.raises(CheckpointError, match=f"weights.pyth: its weight {name} .*; save it as a dense"):
            load_model_weights(Tiny(), saved(tmp_path, {**state, name: odd}))


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    plain, packed = saved(tmp_path, {"weight": torch.zeros(1_000_000)}), tmp_path / "packed.pyth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(CheckpointError, match=r"packed\.pyth: is compressed and would unpack to 4,\d+"):
        read_checkpoint(packed)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": "three"},
        {"epoch": float("inf")},
        {"step": [1]},
        {"class_names": 5},
        {"cfg": {"NUM_GPUS": 1}},
        {"optimizer_state": []},
        {"ema_state": [1]},
        {"lr_scale": "1"},
    ],
)
def test_a_training_state_of_another_form_names_the_remedy(tmp_path: Path, changes: dict[str, Any]) -> None:
    state = {"epoch": 1, "model_state": Tiny().state_dict(), "cfg": "A: 1"}
    state["optimizer_state"] = {"state": {}, "param_groups": []}
    path = saved(tmp_path, {**state, **changes})
    (key,) = changes
    with pytest.raises(CheckpointError, match=rf"weights\.pyth: {key} .*TRAIN\.CHECKPOINT_EPOCH_RESET True"):
        read_training_state(path)


def test_a_state_whose_optimizer_was_removed_has_only_weights(tmp_path: Path) -> None:
    path = saved(tmp_path, {"epoch": 1, "model_state": Tiny().state_dict(), "optimizer_state": None})
    assert read_training_state(path).has_only_weights


def test_averaged_weights_of_another_form_are_not_used(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model_state": Tiny().state_dict(), "ema_state": None})
    assert load_model_weights(Tiny(), path, averaged=True) == ()


@pytest.mark.parametrize("names", ["[[", "[" * 100_000, "5", "[1, [2]]", '{"a": 1}'])
def test_class_names_in_safetensors_of_another_form_are_not_used(tmp_path: Path, names: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(Tiny().state_dict(), path, {"class_names": names})
    assert class_names_in({}, path) == ()
    save_file(Tiny().state_dict(), path, {"class_names": json.dumps(["a", "b"])})
    assert class_names_in({}, path) == ("a", "b")
