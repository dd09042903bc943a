"""Weights saved by other programs: prefixes and wrappers in their names are found, removed and logged."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from slowfast.checkpoint.weight_names import match_names
from slowfast.checkpoint.weights import list_names, load_model_weights, load_weights
from slowfast.errors import CheckpointError
from tests.support.tiny import Tiny

State = dict[str, Tensor]


def behind(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def load(model: nn.Module, content: Any, folder: Path, **options: bool) -> None:
    torch.save(content, folder / "w.pth")
    load_model_weights(model, folder / "w.pth", **options)


def assert_equal(model: nn.Module, expected: nn.Module) -> None:
    theirs = expected.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "module._orig_mod.",
        "_orig_mod.model.",
        "model.net.module.",
        "a.b.",
    ],
)
def test_every_prefix_of_all_names_is_removed_and_logged(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = Tiny(), Tiny()
    with caplog.at_level(logging.INFO):
        load(target, behind(prefix)(source.state_dict()), tmp_path)
    assert_equal(target, source)
    assert f"prefix {prefix!r} removed" in caplog.text


def test_wrappers_of_parts_of_a_model_are_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As of a model in which only one layer is compiled, in a Lightning module."""
    source, target = Tiny(), Tiny()
    state = {
        "model." + name.replace("hidden.", "hidden._orig_mod.module."): tensor
        for name, tensor in source.state_dict().items()
    }
    with caplog.at_level(logging.INFO):
        load(target, {"state_dict": state}, tmp_path)
    assert_equal(target, source)
    assert "prefix 'model.' removed, wrappers removed from 2 names" in caplog.text


def test_plain_weights_are_loaded_into_a_compiled_model(tmp_path: Path) -> None:
    source, target = Tiny(), Tiny()
    load(torch.compile(target), source.state_dict(), tmp_path)  # type: ignore[arg-type]
    assert_equal(target, source)


@pytest.mark.parametrize(
    "layout",
    [
        # PySlowFast; Lightning; timm's train script; the last two with a data-parallel model.
        lambda state: {"epoch": 3, "model_state": state, "optimizer_state": {}, "cfg": "A: 1"},
        lambda state: {
            "state_dict": {**behind("model.")(state), "loss.weight": torch.ones(3)},
            "pytorch-lightning_version": "2.5",
            "hyper_parameters": {"lr": 0.1},
        },
        lambda state: {"epoch": 3, "arch": "x", "state_dict": behind("module.")(state), "optimizer": {}},
        lambda state: {"state_dict": behind("model._orig_mod.module.")(state), "global_step": 7},
        lambda state: {"model": {"state_dict": state, "args": {"lr": 0.1}}, "epoch": 3},
        lambda state: state,
    ],
    ids=["PySlowFast", "Lightning", "timm", "Lightning, compiled", "two keys", "weights alone"],
)
def test_the_layouts_of_other_programs_are_read(layout: Callable[[State], Any], tmp_path: Path) -> None:
    source, target = Tiny(), Tiny()
    load(target, layout(source.state_dict()), tmp_path)
    assert_equal(target, source)


def test_weights_are_read_from_safetensors(tmp_path: Path) -> None:
    source, target = Tiny(), Tiny()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_model_weights(target, tmp_path / "w.safetensors")
    assert_equal(target, source)


def test_the_averaged_weights_of_timm_are_loaded_on_request(tmp_path: Path) -> None:
    ordinary, averaged, target = Tiny(), Tiny(), Tiny()
    content = {
        "state_dict": ordinary.state_dict(),
        "state_dict_ema": behind("module.")(averaged.state_dict()),
    }
    load(target, content, tmp_path)
    assert_equal(target, ordinary)
    load(target, content, tmp_path, averaged=True)
    assert_equal(target, averaged)


def test_entries_without_the_prefix_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {**behind("model.")(Tiny().state_dict()), "loss.weight": torch.ones(3)}
    with caplog.at_level(logging.INFO):
        load(Tiny(), state, tmp_path)
    assert "entries without the prefix, not loaded (1):\n    loss.weight" in caplog.text


def test_two_copies_of_the_weights_are_refused(tmp_path: Path) -> None:
    """No name says which of the two is wanted, unless it is that of a usual wrapper."""
    one, other, target = Tiny(), Tiny(), Tiny()
    with pytest.raises(CheckpointError, match=r"each of the prefixes 'student\.', 'teacher\.'; save"):
        load(
            target,
            {**behind("student.")(one.state_dict()), **behind("teacher.")(other.state_dict())},
            tmp_path,
        )
    load(target, {**behind("ema.")(one.state_dict()), **behind("model.")(other.state_dict())}, tmp_path)
    assert_equal(target, other)
    both = {**behind("net.")(one.state_dict()), **behind("model.")(other.state_dict())}
    with pytest.raises(CheckpointError, match=r"each of the prefixes 'net\.', 'model\.'"):
        load(target, both, tmp_path)
    halves = {name: tensor for name, tensor in both.items() if "head" in name}
    with pytest.raises(CheckpointError, match="each of the prefixes"):
        load(target, halves, tmp_path)
    biases = {name: tensor for name, tensor in halves.items() if "bias" in name}
    with pytest.raises(CheckpointError, match="does not fit the model"):  # they are of another model
        load(target, biases, tmp_path)


def test_two_weights_of_one_name_are_refused(tmp_path: Path) -> None:
    state = {**Tiny().state_dict(), "module.head.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"several weights have the name head\.bias, one of them as"):
        load(Tiny(), state, tmp_path)


def test_a_prefix_of_half_of_the_names_is_removed(tmp_path: Path) -> None:
    half = {name: tensor for name, tensor in Tiny().state_dict().items() if "head" in name}
    with pytest.raises(CheckpointError, match=r"missing \(2\)") as caught:
        load(Tiny(), behind("a.")(half), tmp_path)
    assert "unexpected" not in str(caught.value)


class Scaled(nn.Module):
    """A model with a weight without dimensions, of three classes."""

    num_classes = 3

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Tiny(), {"head.weight": torch.zeros(5, 8)}),
        (Tiny(), {"hidden.bias": torch.zeros(5)}),
        (Tiny(), {"head.bias": torch.zeros(())}),
        (Scaled(torch.zeros(())), {"scale": torch.zeros(5)}),
        (nn.Linear(2, 3), {"weight": torch.zeros(5, 2), "bias": torch.zeros(5)}),  # its classes are unknown
    ],
)
def test_only_a_last_layer_of_other_classes_is_left_out(
    model: nn.Module, change: State, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="of another shape"):
        load(model, {**model.state_dict(), **change}, tmp_path, reset_head=True)


def test_names_that_fit_by_chance_do_not_hide_the_weights_of_another_model(tmp_path: Path) -> None:
    state = {"encoder.head.bias": torch.zeros(3), "encoder.stem.weight": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"unexpected \(2\):\n    encoder.head.bias"):
        load(Tiny(), state, tmp_path)


@pytest.mark.parametrize(
    "change", [{"head.bias": None}, {"head.bias": torch.zeros(9)}, {"new": torch.ones(1)}]
)
def test_refused_weights_leave_the_model_as_it_was(tmp_path: Path, change: dict[str, Tensor | None]) -> None:
    target = Tiny()
    expected = copy.deepcopy(target)
    state = {name: tensor for name, tensor in {**Tiny().state_dict(), **change}.items() if tensor is not None}
    with pytest.raises(CheckpointError, match="does not fit the model"):
        load(target, state, tmp_path)
    assert_equal(target, expected)


def test_a_models_own_names_may_be_those_of_wrappers() -> None:
    own = {"module.weight": torch.zeros(1), "model.module.weight": torch.zeros(1)}
    matched = match_names(own, own.keys())
    assert matched.weights == own
    assert matched.describe() == ""


def test_a_file_in_the_current_folder_is_refused_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"other": torch.ones(1)}, "w.pth")
    with pytest.raises(CheckpointError, match=r"^w\.pth does not fit the model"):
        load_model_weights(Tiny(), "w.pth")


@pytest.mark.parametrize(
    ("folder", "has_config"), [("checkpoints", False), ("weights", True), ("checkpoints", True)]
)
def test_only_the_configuration_of_the_run_of_the_weights_is_named(
    folder: str, has_config: bool, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    if has_config:
        (tmp_path / "config.yaml").touch()
    with pytest.raises(CheckpointError) as caught:
        load(Tiny(), {"other": torch.ones(1)}, tmp_path / folder)
    named = f"trained with the configuration {tmp_path}/config.yaml; use" in str(caught.value)
    assert named == (has_config and folder == "checkpoints")


@pytest.mark.parametrize("name", ["s1.pathway0_stem.conv.weight", "pos_embed_spatial"])
def test_weights_of_pyslowfasts_own_networks_are_named(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"PySlowFast's own networks; those here are pytorchvideo's"):
        load_weights(nn.Sequential(nn.Linear(2, 2)), {name: torch.zeros(1)}, source="SLOWFAST_8x8_R50.pyth")


def test_of_many_names_ten_are_listed() -> None:
    names = [f"layer{number}" for number in range(12)]
    assert list_names("missing", names[:10]).splitlines()[-1] == "    layer9"
    assert list_names("missing", names).splitlines()[-2:] == ["    layer9", "    … and 2 more"]
