"""Sources of a backbone's weights: files of any origin, hubs, a package; and their errors."""

from __future__ import annotations

import json
import logging
import pickle
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from slowfast.config import load_config
from slowfast.errors import CheckpointError, ModelError
from slowfast.models import build_model
from vtn.backbones.build import build_backbone
from vtn.backbones.efficientnet_lite0 import PACKAGE, rename_by_order, weights_file

NAME = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": 32, "embed_dim": 32, "depth": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def full_network() -> nn.Module:
    """The network with its classifier, as it is usually published."""
    torch.manual_seed(1)
    return timm.create_model(NAME, num_classes=7, **SMALL)


def features_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(images)


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
    [
        ({"epoch": 3}, "contains no weights; its entries are epoch"),
        ({"table": torch.zeros(2)}, "missing"),
    ],
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

    def test_hugging_face_without_a_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ModelError) as caught:
            build_backbone("hf:facebook/dinov2-base", pretrained=True, options={})
        assert "https://huggingface.co/facebook/dinov2-base/tree/main" in str(caught.value)
        assert "hf:FOLDER" in str(caught.value)

    def test_torchvision_without_a_network(
        self, pauses: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def offline(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route")

        monkeypatch.setattr("torch.hub.download_url_to_file", offline)
        with pytest.raises(ModelError, match=r"resnet18-f37072fd\.pth") as caught:
            build_backbone("torchvision:resnet18", pretrained=True, options={})
        assert "checkpoints" in str(caught.value)
        assert len(pauses) == 3


class TestHuggingFaceFolders:
    """A folder saved by transformers is a backbone with its own image preprocessing."""

    CLIP: dict[str, Any] = {  # noqa: RUF012
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48,
    }  # fmt: skip

    def save_clip(self, folder: Path) -> Any:
        from transformers import CLIPConfig, CLIPModel

        torch.manual_seed(3)
        vision = {**self.CLIP, "image_size": 32, "patch_size": 16}
        model = CLIPModel(CLIPConfig(vision_config=vision, text_config={**self.CLIP, "vocab_size": 50}))
        model.save_pretrained(folder)
        processing = {
            "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3, "do_normalize": True,
            "crop_size": {"height": 32, "width": 32}, "image_processor_type": "CLIPImageProcessor",
        }  # fmt: skip
        (folder / "preprocessor_config.json").write_text(json.dumps(processing))
        return model.eval()

    def test_the_image_tower_of_a_model_of_images_and_text_is_used(self, tmp_path: Path) -> None:
        model = self.save_clip(tmp_path)
        built = build_backbone(f"hf:{tmp_path}", pretrained=True, options={})
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            expected = model.vision_model(images).pooler_output
        torch.testing.assert_close(features_of(built.network, images), expected)
        assert (built.mean, built.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        assert (built.image_size, built.interpolation, built.fixed_size) == (32, "bicubic", True)

    def test_a_folder_without_weights_is_enough_for_an_untrained_backbone(self, tmp_path: Path) -> None:
        self.save_clip(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        assert build_backbone(f"hf:{tmp_path}", pretrained=False, options={}).feature_dim == 32
        with pytest.raises(ModelError, match="cannot get the published weights"):
            build_backbone(f"hf:{tmp_path}", pretrained=True, options={})

    def test_a_file_of_weights_for_such_a_folder_is_loaded(self, tmp_path: Path) -> None:
        model = self.save_clip(tmp_path)
        built = build_backbone(
            f"hf:{tmp_path}", pretrained=True, options={}, checkpoint=tmp_path / "model.safetensors"
        )
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            expected = model.vision_model(images).pooler_output
        torch.testing.assert_close(features_of(built.network, images), expected)

    def test_unknown_arguments_are_refused(self, tmp_path: Path) -> None:
        self.save_clip(tmp_path)
        with pytest.raises(ModelError, match="unknown keys depth; CLIPVisionConfig has"):
            build_backbone(f"hf:{tmp_path}", pretrained=False, options={"depth": 3})


class TestPretrainedDemo:
    """The network from a package: real ImageNet weights without a hub."""

    @pytest.fixture
    def package(self) -> Path:
        pytest.importorskip(
            PACKAGE, reason=f"{PACKAGE} is not installed; it is in the extra 'pretrained-demo'"
        )
        return weights_file()

    def test_it_classifies_photographs_correctly(self, package: Path) -> None:
        """The classifier of the same file recognises a daisy, a cup of espresso and a tripod."""
        from skimage import data
        from sklearn.datasets import load_sample_image

        built = build_backbone("efficientnet_lite0_imagenet", pretrained=True, options={})
        weight, bias = list(torch.load(package, weights_only=True).values())[-2:]
        photographs = [load_sample_image("flower.jpg"), data.coffee(), data.camera()]
        images = torch.stack([self.prepare(photograph, built.mean, built.std) for photograph in photographs])
        classes = (features_of(built.network, images) @ weight.T + bias).argmax(1)
        assert classes.tolist() == [985, 967, 872]  # daisy, espresso, tripod

    @staticmethod
    def prepare(photograph: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        from PIL import Image

        image = Image.fromarray(photograph).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        pixels = torch.tensor(list(image.tobytes()), dtype=torch.float32).reshape(224, 224, 3) / 255
        return ((pixels - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)

    def test_weights_in_another_order_are_refused(self) -> None:
        ours = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(3)}
        file = Path("w.pth")
        assert rename_by_order(
            {"x.weight": ours["a.weight"], "x.bias": ours["a.bias"]}, ours, file, surplus=0
        )
        for theirs in (
            {"x.bias": torch.zeros(2), "x.weight": torch.zeros(3)},
            {"x.weight": torch.zeros(3), "x.bias": torch.zeros(3)},
            {"x.weight": torch.zeros(2)},
        ):
            with pytest.raises(CheckpointError, match="does not contain the weights"):
                rename_by_order(theirs, ours, file, surplus=0)

    def test_the_error_without_the_package_names_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(_: str) -> None:
            raise ModuleNotFoundError

        monkeypatch.setattr("vtn.backbones.efficientnet_lite0.resources.files", missing)
        with pytest.raises(ModelError, match=r"slowfast-vtn\[pretrained-demo\]"):
            build_backbone("efficientnet_lite0_imagenet", pretrained=True, options={})


@pytest.mark.parametrize("names", [("state_dict", "state_dict_ema"), ("model", "model_ema")])
def test_averaged_weights_are_preferred(
    names: tuple[str, str], full_network: nn.Module, tmp_path: Path
) -> None:
    weights = full_network.state_dict()
    ordinary = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    torch.save(dict(zip(names, (ordinary, weights), strict=True)), tmp_path / "trained.pth")
    loaded = build(tmp_path / "trained.pth").state_dict()
    assert any(weight.any() for weight in loaded.values())
