"""A dry run names the weights that a run would download, and downloads none."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN
from vtn.backbones.at_hand import find_published
from vtn.backbones.published import cached_on_hub

RESNET = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of torch and of the hub's client, without a network; returns the hub's."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network is used"))
    (tmp_path / "torch" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub"


def put_on_hub(cache: Path, name: str, *files: str, content: str = "") -> Path:
    """Puts files of a model into the cache of the hub's client; returns their folder."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123"
    snapshot.mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text("0123")
    for file in files:
        (snapshot / file).write_text(content)
    return snapshot


def test_weights_of_timm_are_in_the_cache_of_the_hub_or_are_named(caches: Path) -> None:
    missing: Any = find_published("test_vit")
    assert (missing.path, missing.address) == ("", "https://huggingface.co/timm/test_vit.r160_in1k")
    folder = put_on_hub(caches, "timm/test_vit.r160_in1k", "model.safetensors")
    found: Any = find_published("test_vit")
    assert found.path == str(folder / "model.safetensors")


def test_weights_of_torchvision_have_a_size(tmp_path: Path) -> None:
    missing: Any = find_published("torchvision:resnet18")
    assert missing.describe().startswith(
        f"backbone torchvision:resnet18: its weights would be downloaded from {RESNET} (4"
    )
    copy = tmp_path / "torch" / "checkpoints" / "resnet18-f37072fd.pth"
    copy.touch()
    found: Any = find_published("torchvision:resnet18")
    assert found.describe() == f"backbone torchvision:resnet18: its weights are in {copy}"


def test_weights_in_parts_are_at_hand_with_all_of_them(caches: Path, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
    name = "model.safetensors.index.json"
    folder = put_on_hub(caches, "me/large", name, content=index)
    put_on_hub(caches, "me/large", "one.safetensors")
    assert not cached_on_hub("me/large", [name])
    put_on_hub(caches, "me/large", "two.safetensors")
    assert cached_on_hub("me/large", [name]) == str(folder / name)
    assert cached_on_hub(str(folder), [name]) == str(folder / name), "a folder of these files"
    for damaged in ("", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": [1]}}', "[" * 100_000):
        (folder / name).write_text(damaged)
        assert not cached_on_hub(str(folder), [name])


@pytest.mark.parametrize("name", ["vjepa2_1_vit_base_384", "pytorchvideo:slow_r50", "hf:me/other"])
def test_other_sources_name_an_address(name: str) -> None:
    missing: Any = find_published(name)
    assert not missing.path
    assert missing.address.startswith("https://")


@pytest.mark.parametrize("name", ["precomputed", "torchvision:absent", "pytorchvideo:absent", "hf:a//b"])
def test_a_backbone_without_weights_and_an_unknown_one_need_none(name: str) -> None:
    assert find_published(name) is None


def test_a_dry_run_names_the_download(
    colour_videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = tiny_config(colour_videos, tmp_path / "out", *SMALL_VTN, "VTN.BACKBONE.PRETRAINED", True)
    with caplog.at_level("INFO"):
        assert run(cfg, dry_run=True) == 0
    line = "backbone test_vit: its weights would be downloaded from https://huggingface.co/timm/test_vit"
    assert line in caplog.text
    assert "(1 MB)" in caplog.text


@pytest.mark.parametrize("key", ["VTN.BACKBONE.CHECKPOINT", "VTN.LONGFORMER.CHECKPOINT"])
def test_a_dry_run_refuses_a_missing_file_of_weights(key: str, colour_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(
        colour_videos, tmp_path / "out", *SMALL_VTN, "VTN.BACKBONE.PRETRAINED", key.startswith("VTN.B"),
        key, str(tmp_path / "absent.pth"),
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=rf"{key} = '.*absent\.pth': does not exist"):
        run(cfg, dry_run=True)
