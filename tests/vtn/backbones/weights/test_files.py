"""Weights of a backbone from files of any origin, and the errors of files that do not fit."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from slowfast.config import load_config
from slowfast.errors import CheckpointError
from slowfast.models import build_model
from tests.support.backbones.small_vit import NAME, SMALL, features_of
from vtn.backbones.build import build_backbone


def build(checkpoint: Path, **options: Any) -> nn.Module:
    torch.manual_seed(2)
    return build_backbone(
        NAME, pretrained=True, options={**SMALL, **options}, checkpoint=str(checkpoint)
    ).network


@pytest.mark.parametrize(
    "write",
    [
        lambda state, path: torch.save(state, path / "w.pth"),
        lambda state, path: torch.save({"model": state, "epoch": 3}, path / "w.pth"),
        lambda state, path: torch.save(
            {"state_dict": {f"module.{k}": v for k, v in state.items()}}, path / "w.pth"
        ),
        lambda state, path: torch.save(
            {"teacher": {f"backbone.{k}": v for k, v in state.items()}}, path / "w.pth"
        ),
        lambda state, path: save_file(state, path / "w.safetensors"),
    ],
    ids=["plain", "under a key", "data parallel", "of a larger model", "safetensors"],
)
def test_weights_are_found_in_a_file_of_any_origin(
    write: Callable[[dict[str, Tensor], Path], None], full_network: nn.Module, tmp_path: Path
) -> None:
    write(full_network.state_dict(), tmp_path)
    (path,) = tmp_path.iterdir()
    images = torch.randn(2, 3, 32, 32)
    network = build(path)
    torch.testing.assert_close(
        features_of(network, images), full_network.forward_head(full_network.forward_features(images), True)
    )


def test_the_log_names_the_entries_that_are_not_loaded(
    full_network: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {f"vision.{name}": tensor for name, tensor in full_network.state_dict().items()}
    torch.save({**state, "text.table": torch.zeros(2)}, tmp_path / "two_towers.pth")
    with caplog.at_level(logging.INFO):
        build(tmp_path / "two_towers.pth")
    (record,) = [record.message for record in caplog.records if "two_towers" in record.message]
    assert f"{len(state) - 2} weights" in record
    assert "prefix 'vision.' removed" in record
    assert "head, not loaded (2):\n    head.bias\n    head.weight" in record
    assert "other entries, not loaded (1):\n    text.table" in record


def test_the_position_embedding_is_resized(full_network: nn.Module, tmp_path: Path) -> None:
    torch.save(full_network.state_dict(), tmp_path / "w.pth")
    network = build(tmp_path / "w.pth", img_size=64)
    assert network.pos_embed.shape == (1, 17, 32)
    assert features_of(network, torch.randn(1, 3, 64, 64)).shape == (1, 32)


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    """Files of early versions of torch lack them."""
    own = build_backbone("test_resnet", pretrained=False, options={}).network.state_dict()
    state = {name: tensor for name, tensor in own.items() if not name.endswith("num_batches_tracked")}
    assert len(state) < len(own)
    torch.save(state, tmp_path / "w.pth")
    path = str(tmp_path / "w.pth")
    loaded = build_backbone("test_resnet", pretrained=True, options={}, checkpoint=path).network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_the_error_about_a_file_that_does_not_fit_lists_each_entry(
    full_network: nn.Module, tmp_path: Path
) -> None:
    state = dict(full_network.state_dict())
    del state["norm.bias"]
    state["blocks.0.mlp.fc1.bias"] = torch.zeros(3)
    state["blocks.7.mlp.fc1.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError) as caught:
        build(tmp_path / "w.pth")
    message = str(caught.value)
    assert "missing (1):\n    norm.bias" in message
    assert "unexpected (1):\n    blocks.7.mlp.fc1.bias" in message
    assert "blocks.0.mlp.fc1.bias is (3,), the backbone's (128,)" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [({"epoch": 3}, "contains no weights; its entries are epoch"), ({"table": torch.zeros(2)}, "missing")],
)
def test_a_file_without_the_weights_is_refused(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message):
        build(tmp_path / "w.pth")


def test_a_file_that_could_run_code_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"model": Path("x")}))
    with pytest.raises(CheckpointError, match="cannot be read"):
        build(tmp_path / "w.pth")


def test_a_configured_file_replaces_the_download(full_network: nn.Module, tmp_path: Path) -> None:
    """The file is not read either if a checkpoint of the entire model is loaded next."""
    torch.save(full_network.state_dict(), tmp_path / "w.pth")
    overrides = [
        *("VTN.BACKBONE.NAME", NAME, "VTN.BACKBONE.ARGS", str(SMALL)),
        *("VTN.BACKBONE.CHECKPOINT", str(tmp_path / "w.pth"), "MODEL.MODEL_NAME", "FrameAverage"),
    ]
    cfg = load_config("VIT_B_VTN", overrides)
    model = build_model(cfg)
    torch.testing.assert_close(model.backbone.cls_token, full_network.cls_token)
    (tmp_path / "w.pth").unlink()
    build_model(cfg, fetch_weights=False)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        build_model(cfg)


@pytest.mark.parametrize("names", [("state_dict", "state_dict_ema"), ("model", "model_ema")])
def test_averaged_weights_are_preferred(
    names: tuple[str, str], full_network: nn.Module, tmp_path: Path
) -> None:
    weights = full_network.state_dict()
    ordinary = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    torch.save(dict(zip(names, (ordinary, weights), strict=True)), tmp_path / "trained.pth")
    loaded = build(tmp_path / "trained.pth").state_dict()
    assert any(weight.any() for weight in loaded.values())
