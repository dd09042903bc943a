"""Backbones by name: the registry first, then timm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from slowfast.config import load_config
from slowfast.errors import ModelError
from slowfast.models import build_model
from vtn import BACKBONE_REGISTRY, VTN, FrameAverage, create_model
from vtn.backbone import build_backbone

SMALL = {"num_classes": 5, "hidden_dim": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 48}


@pytest.fixture
def brightness() -> Iterator[str]:
    """A user's own backbone, registered by name."""

    class Brightness(nn.Module):
        feature_dim = 3
        frame_mean = (0.1, 0.2, 0.3)

        def __init__(self, gain: float = 1.0) -> None:
            super().__init__()
            self.gain = gain

        def forward(self, images: Tensor) -> Tensor:
            return images.mean(dim=(2, 3)) * self.gain

    BACKBONE_REGISTRY.register("brightness")(Brightness)
    yield "brightness"
    del BACKBONE_REGISTRY._entries["brightness"]


def test_a_registered_backbone(brightness: str) -> None:
    model = VTN(brightness, backbone_args={"gain": 2.0}, **SMALL)
    assert model.frame_mean == (0.1, 0.2, 0.3)
    assert model.frame_std == (0.225, 0.225, 0.225)
    frames = torch.rand(1, 3, 4, 5, 5)
    torch.testing.assert_close(model.encode_frames(frames)[0], frames[0].mean((2, 3)).T * 2)
    assert model(frames).shape == (1, 5)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_timm_models_say_their_width(name: str) -> None:
    """Also where a convolution after the pooling widens the features."""
    built = build_backbone(name, pretrained=False, options={})
    with torch.no_grad():
        assert built.network.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, built.feature_dim)
    assert built.mean == built.network.pretrained_cfg["mean"]


def test_backbone_arguments_reach_timm() -> None:
    arguments = {"img_size": 32, "patch_size": 8, "depth": 1}
    model = VTN(
        "vit_tiny_patch16_224", pretrained=False, drop_path_rate=0.1, backbone_args=arguments, **SMALL
    )
    assert model.backbone.patch_embed.num_patches == 16
    assert model(torch.zeros(1, 3, 2, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_base_patch16_244", {}, "did you mean vit_base_patch16_224"),
        ("shalow_conv", {}, "did you mean shallow_conv"),
        ("shallow_conv", {"depth": 3}, "depth"),
        ("resnet18", {"image_size": 3}, "image_size"),
        ("shallow_conv", {"image_size": 30}, "no multiple of 16"),
    ],
)
def test_what_there_is_not(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_backbone(name, pretrained=False, options=options)


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(ModelError, match=r"set VTN\.BACKBONE\.PRETRAINED False"):
        build_backbone("resnet18", pretrained=True, options={})


def test_a_network_of_unknown_width() -> None:
    with pytest.raises(ModelError, match="integer attribute feature_dim"):
        VTN(nn.Flatten(), **SMALL)


OVERRIDES = [
    *("TRAIN.ENABLE", "False", "TEST.ENABLE", "False", "MODEL.NUM_CLASSES", "6"),
    *("VTN.BACKBONE.NAME", "shallow_conv", "VTN.BACKBONE.ARGS.image_size", "32"),
    *("VTN.LONGFORMER.HIDDEN_DIM", "24", "VTN.LONGFORMER.INTERMEDIATE_SIZE", "32"),
    *("VTN.LONGFORMER.POSITION_UNIT", "second", "VTN.LONGFORMER.POSITION_RATE", "10"),
]


def test_models_from_a_configuration(tmp_path) -> None:
    cfg = load_config("VIT_B_VTN", OVERRIDES)
    model = build_model(cfg)
    assert isinstance(model, VTN)
    assert model.position_rate == 10
    assert [layer.half_window for layer in model.temporal_encoder.layers] == [9, 9, 9]
    frames = torch.randn(2, 3, 4, 32, 32)
    assert model(frames).shape == (2, 6)

    torch.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    again = create_model("VIT_B_VTN", checkpoint=tmp_path / "weights.pyth", overrides=OVERRIDES)
    torch.testing.assert_close(again(frames), model.eval()(frames))

    average = build_model(load_config("VIT_B_VTN", [*OVERRIDES, "MODEL.MODEL_NAME", "FrameAverage"]))
    assert isinstance(average, FrameAverage)
    assert average(frames).shape == (2, 6)
