"""Weights of a backbone from hubs: retries, and errors that name the file to download."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from slowfast.errors import ModelError
from tests.support.backbones.small_vit import NAME, SMALL
from vtn.backbones.build import build_backbone


class TestHubs:
    """Behaviour if a hub does not answer."""

    @pytest.fixture
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        pauses: list[float] = []
        monkeypatch.setattr("vtn.backbones.published.time.sleep", pauses.append)
        return pauses

    def test_a_temporary_failure_is_retried(
        self, pauses: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create, failures = timm.create_model, [ConnectionResetError("reset"), TimeoutError("slow")]

        def flaky(name: str, pretrained: bool, **options: Any) -> nn.Module:
            if failures:
                raise failures.pop()
            return create(name, pretrained=False, **options)

        monkeypatch.setattr("timm.create_model", flaky)
        assert build_backbone(NAME, pretrained=True, options=SMALL).feature_dim == 32
        assert pauses == [1.0, 3.0]

    @pytest.mark.parametrize(
        ("error", "attempts"),
        [
            (urllib.error.URLError("no route"), 4),
            (urllib.error.HTTPError("https://x", 404, "not found", {}, None), 1),
            (OSError("offline"), 1),
        ],
        ids=["network", "no such file", "the hub's own client has tried"],
    )
    def test_the_error_without_a_network_names_the_file_and_its_folder(
        self,
        error: OSError,
        attempts: int,
        pauses: list[float],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        calls: list[str] = []

        def offline(name: str, **_: object) -> None:
            calls.append(name)
            raise error

        monkeypatch.setattr("timm.create_model", offline)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(ModelError) as caught:
            build_backbone("vit_base_patch16_224", pretrained=True, options={})
        assert len(calls) == attempts
        message = str(caught.value)
        assert "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k/resolve/main/model.safetensors" in message
        assert str(tmp_path / "hub/checkpoints/vit_base_patch16_224.safetensors") in message
        assert "VTN.BACKBONE.CHECKPOINT" in message
        assert "VTN.BACKBONE.PRETRAINED False" in message

    def test_a_file_in_that_folder_is_used(
        self, full_network: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        save_file(full_network.state_dict(), folder / f"{NAME}.safetensors")
        network = build_backbone(NAME, pretrained=True, options=SMALL).network
        torch.testing.assert_close(network.cls_token, full_network.cls_token)

    def test_hugging_face_without_a_network_names_its_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ModelError) as caught:
            build_backbone("hf:facebook/dinov2-base", pretrained=True, options={})
        assert "https://huggingface.co/facebook/dinov2-base/tree/main" in str(caught.value)
        assert "hf:FOLDER" in str(caught.value)

    def test_torchvision_without_a_network_names_its_file(
        self, pauses: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def offline(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route")

        monkeypatch.setattr("torch.hub.download_url_to_file", offline)
        with pytest.raises(ModelError, match=r"resnet18-f37072fd\.pth") as caught:
            build_backbone("torchvision:resnet18", pretrained=True, options={})
        assert "checkpoints" in str(caught.value)
        assert len(pauses) == 3
