"""Construction of backbones by name: from the registry, from timm, and from a user's own file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from slowfast.config import load_config
from slowfast.errors import ConfigError, ModelError
from slowfast.models import build_model
from vtn import BACKBONE_REGISTRY, VTN, FrameAverage, create_model
from vtn.backbones.build import build_backbone
from vtn.backbones.frames.token_reader import TokenReader
from vtn.backbones.maps.token_grid import TokenGrid

SMALL = {"num_classes": 5, "hidden_dim": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 48}


@pytest.fixture
def brightness() -> Iterator[str]:
    """Registers a backbone, as a user does; yields its name."""

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


def test_a_registered_backbone_is_built_with_its_arguments(brightness: str) -> None:
    model = VTN(brightness, backbone_args={"gain": 2.0}, **SMALL)
    assert model.frame_mean == (0.1, 0.2, 0.3)
    assert model.frame_std == (0.225, 0.225, 0.225)
    frames = torch.rand(1, 3, 4, 5, 5)
    torch.testing.assert_close(model.encode_frames(frames)[0], frames[0].mean((2, 3)).T * 2)
    assert model(frames).shape == (1, 5)


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
        ("shallow_conv", {"image_size": 30}, "must be a multiple of 16"),
        ("torchvision:resnet19", {}, "did you mean resnet18"),
        ("torchvision:resnet18", {"depth": 3}, "depth"),
        ("torchvision:squeezenet1_1", {}, "register a module in BACKBONE_REGISTRY"),
        ("hf:dinov2", {"depth": 3}, "unknown keys depth; Dinov2Config has .*num_hidden_layers"),
    ],
)
def test_unknown_names_and_arguments_are_refused_with_a_remedy(
    name: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build_backbone(name, pretrained=False, options=options)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_models_with_classifiers_for_training_are_built_without_them(name: str) -> None:
    with torch.device("meta"):  # large networks
        options = {"init_weights": False}
        built = build_backbone(f"torchvision:{name}", pretrained=False, options=options)
        assert built.network.eval()(torch.zeros(1, 3, 299, 299)).shape == (1, built.feature_dim)
        with pytest.raises(ModelError, match=r"several classifiers; remove VTN\.BACKBONE\.ARGS\.aux_logits"):
            build_backbone(f"torchvision:{name}", pretrained=False, options={**options, "aux_logits": True})


def test_images_of_one_size_must_be_square() -> None:
    with pytest.raises(ModelError, match=r"64×96 pixels: must be square.*ARGS\.img_size to one number"):
        build_backbone("vit_tiny_patch16_224", pretrained=False, options={"img_size": [64, 96]})


@pytest.mark.parametrize(
    ("name", "options", "size", "problem"),
    [
        ("naflexvit_base_patch16_gap", {}, 40, "multiples of 16, the patch"),
        ("deepseek_vit_412m", {}, 224 + 1, "multiples of 14, the patch"),
        ("halonet_h1", {}, 224, "224×224 pixels, which ByobNet does not accept; use crops of 256 pixels"),
        ("torchvision:maxvit_t", {}, 256, "which MaxVit does not accept; use crops of 224 pixels"),
        ("resnet10t", {}, 100, ""),
    ],
)
def test_sizes_on_which_the_network_would_end_are_refused(
    name: str, options: dict[str, Any], size: int, problem: str
) -> None:
    if name.startswith("deepseek") and not timm.is_model(name):
        pytest.skip("this timm does not have the model")
    with torch.device("meta"):
        built = build_backbone(name, pretrained=False, options=options)
    reader = TokenReader(built, TokenGrid())
    found = built.size_problem(size, size) or reader.map_problem(size, size)
    assert problem in found
    assert bool(found) == bool(problem)


def test_a_network_without_feature_dim_is_refused() -> None:
    with pytest.raises(ModelError, match="integer attribute feature_dim"):
        VTN(nn.Flatten(), **SMALL)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: None, "must be a torch.nn.Module, and is a NoneType"),
        (lambda: attributed(frame_mean=0.5), "frame_mean = 0.5: must be three numbers"),
        (lambda: attributed(frame_std=(0.5,)), r"frame_std = \(0.5,\): must be three numbers"),
        (lambda: len(5), rf"has no len\(\) in {re.escape(__file__)}, line \d+; see VTN.BACKBONE.ARGS"),
        (lambda width: width, r"missing 1 required positional argument: 'width'; see VTN.BACKBONE.ARGS"),
    ],
)
def test_a_mistake_in_a_registered_backbone_is_named(
    factory: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONE_REGISTRY._entries, "own", factory)
    with pytest.raises(ModelError, match=message):
        build_backbone("own", pretrained=False, options={})


def attributed(**attributes: Any) -> nn.Module:
    network = nn.Flatten()
    for name, value in {"feature_dim": 3, **attributes}.items():
        setattr(network, name, value)
    return network


OVERRIDES = [
    *("TRAIN.ENABLE", "False", "TEST.ENABLE", "False", "MODEL.NUM_CLASSES", "6"),
    *("VTN.BACKBONE.NAME", "shallow_conv", "VTN.BACKBONE.ARGS.image_size", "32"),
    *("VTN.LONGFORMER.HIDDEN_DIM", "24", "VTN.LONGFORMER.INTERMEDIATE_SIZE", "32"),
    *("VTN.LONGFORMER.POSITION_UNIT", "second", "VTN.LONGFORMER.POSITION_RATE", "10"),
]


def test_models_are_built_from_a_configuration(tmp_path: Path) -> None:
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
    assert (again.frame_mean, again.frame_std) == ((0.45,) * 3, (0.225,) * 3)  # the recipe's normalization

    average = build_model(load_config("VIT_B_VTN", [*OVERRIDES, "MODEL.MODEL_NAME", "FrameAverage"]))
    assert isinstance(average, FrameAverage)
    assert average(frames).shape == (2, 6)


OWN = """
from torch import nn
from vtn.backbones.build import BACKBONE_REGISTRY

@BACKBONE_REGISTRY.register("{name}")
class Mean(nn.Module):
    feature_dim = 3
    frame_mean, frame_std, image_size, interpolation = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 48, "bicubic"

    def __init__(self, pretrained: bool, gain: float = 1.0) -> None:
        super().__init__()
        self.gain, self.wants_weights = gain, pretrained

    def forward(self, images):
        return images.mean((2, 3)) * self.gain
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Iterator[Path]:
    """Writes a user's file with a backbone; its unique name makes each test import it again."""
    path = tmp_path / f"backbone_of_{tmp_path.name}.py"
    path.write_text(OWN.format(name=path.stem))
    folders = list(sys.path)
    yield path
    sys.path[:] = folders
    sys.modules.pop(path.stem, None)
    BACKBONE_REGISTRY._entries.pop(path.stem, None)


def own_config(path: str | Path, name: str, **arguments: Any) -> Any:
    overrides = ["IMPORTS", str([str(path)]), "VTN.BACKBONE.NAME", name, "VTN.BACKBONE.ARGS", str(arguments)]
    return load_config("VIT_B_VTN", [*overrides, "MODEL.MODEL_NAME", "FrameAverage"])


def test_a_backbone_from_a_users_file_is_built(own_file: Path) -> None:
    model = build_model(own_config(own_file, own_file.stem, gain=2.0))
    assert (model.backbone.gain, model.backbone.wants_weights) == (2.0, True)
    assert (model.frame_mean, model.frame_std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (model.frame_size, model.frame_interpolation) == (48, "bicubic")
    assert not build_model(own_config(own_file, own_file.stem), fetch_weights=False).backbone.wants_weights


def test_a_missing_import_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"IMPORTS \(override\) = 'no_file\.py': must be an existing file"):
        own_config("no_file.py", "resnet18")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import torch\n1 / 0\n", "line 2 (ZeroDivisionError: division by zero)"),
        ("a b", "SyntaxError"),
        ("\nimport sys\nsys.exit('usage')", "line 3 (SystemExit: usage)"),
        ("import torch\ntorch.nn.Linear('a', 3)", "line 2 (TypeError: "),
        (
            "import vtn\nvtn.BACKBONE_REGISTRY.register('shallow_conv')(list)",
            "line 2 (backbone 'shallow_conv': is already registered; choose another name); fix",
        ),
    ],
)
def test_an_import_file_with_an_error_is_named_with_the_error(
    code: str, message: str, own_file: Path
) -> None:
    own_file.write_text(code)
    with pytest.raises(ConfigError) as caught:
        build_model(own_config(own_file, "resnet18"))
    assert message in str(caught.value)
    assert str(own_file) in str(caught.value)


def test_an_import_file_with_a_dot_in_its_name_is_refused(own_file: Path) -> None:
    dotted = own_file.rename(own_file.with_name("my.backbone.py"))
    with pytest.raises(ConfigError, match="must have no further dot in its name; rename the file"):
        own_config(dotted, "resnet18")


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ConfigError, match=r"IMPORTS \(override\) = 'no_such_module': cannot be imported"):
        build_model(own_config("no_such_module", "resnet18"))


def test_an_import_file_with_the_name_of_another_module_is_refused(own_file: Path) -> None:
    taken = own_file.with_name("json.py")
    own_file.rename(taken)
    with pytest.raises(ConfigError, match="another module is called json"):
        build_model(own_config(taken, "resnet18"))
