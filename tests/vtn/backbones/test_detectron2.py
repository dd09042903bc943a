"""The detectron2 adapter, with a stand-in for the part of detectron2's interface that the adapter uses.

``test_real_detectron2.py`` tests the same adapter with detectron2 itself, where that is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.errors import ModelError
from vtn import FrameAverage
from vtn.backbones.build import build_backbone
from vtn.backbones.frames.token_reader import TokenReader
from vtn.backbones.maps.token_grid import TokenGrid


class Pyramid(nn.Module):
    """A network that maps images (N, 3, H, W) to two feature maps, like a detectron2 backbone."""

    size_divisibility = 32

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 1, stride=4), nn.Conv2d(3, 6, 1, stride=32)

    def output_shape(self) -> dict[str, Any]:
        return {"p2": SimpleNamespace(channels=4, stride=4), "p5": SimpleNamespace(channels=6, stride=32)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        assert images.shape[-1] % self.size_divisibility == images.shape[-2] % self.size_divisibility == 0
        return {"p2": self.fine(images), "p5": self.coarse(images)}


@pytest.fixture
def detectron2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Installs the stand-in in ``sys.modules``; returns the path of a configuration file for it."""

    class UnsafeByDefault(CfgNode):
        def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
            super().merge_from_file(cfg_filename, allow_unsafe)

    def get_cfg() -> CfgNode:
        cfg = UnsafeByDefault()
        cfg.MODEL = UnsafeByDefault(
            {
                "WEIGHTS": "",
                "PIXEL_MEAN": [103.53, 116.28, 123.675],
                "PIXEL_STD": [1.0, 1.0, 1.0],
                "DEVICE": "cuda",
            }
        )
        cfg.INPUT = UnsafeByDefault({"FORMAT": "BGR"})
        return cfg

    class Checkpointer:
        def __init__(self, model: nn.Module) -> None:
            self.model = model

        def load(self, path: str) -> None:
            if not path:
                raise OSError("no weights")
            self.model.backbone.load_state_dict(torch.load(path, weights_only=True))

    def model_zoo_file(name: str) -> str:
        raise RuntimeError(f"{name} not available in Model Zoo!")

    class Detector(nn.Module):
        def __init__(self, cfg: CfgNode) -> None:
            super().__init__()
            assert cfg.MODEL.DEVICE == "cpu"  # the tests run on machines without a GPU
            self.backbone, self.roi_heads = Pyramid(), nn.Linear(6, 2)

    contents = {
        "detectron2": {},
        "detectron2.model_zoo": {"get_config_file": model_zoo_file},
        "detectron2.config": {"get_cfg": get_cfg},
        "detectron2.modeling": {"build_backbone": lambda cfg: Pyramid(), "build_model": Detector},
        "detectron2.checkpoint": {"DetectionCheckpointer": Checkpointer},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "pyramid.yaml").write_text("MODEL:\n  PIXEL_STD: [57.375, 57.12, 58.395]\n")
    return tmp_path / "pyramid.yaml"


def test_tokens_are_cells_of_the_named_map(detectron2: Path) -> None:
    built = build_backbone(f"detectron2:{detectron2}", pretrained=False, options={"feature": "p2"})
    images = torch.randn(2, 3, 64, 64)
    reader = TokenReader(built, TokenGrid(2, 4))
    assert reader.prepare() == 4
    expected = nn.functional.adaptive_avg_pool2d(built.network.model(images.flip(1))["p2"], (2, 4))
    torch.testing.assert_close(reader(built.network, images), expected.flatten(2).transpose(1, 2))
    with pytest.raises(ModelError, match=r"STAGE = 1: must be 0 .* VTN.BACKBONE.ARGS.feature"):
        TokenReader(built, TokenGrid(2, 2, stage=1)).prepare()


def test_a_named_map_is_averaged(detectron2: Path) -> None:
    model = FrameAverage(
        f"detectron2:{detectron2}", 3, pretrained=False, backbone_args={"feature": "p2"}, mlp_dim=8
    )
    assert model.feature_dim == 4
    # detectron2's configuration has the order blue, green, red and the range 0 … 255.
    assert model.frame_mean == pytest.approx((0.485, 0.456, 0.406))
    assert model.frame_std == pytest.approx((0.229, 0.224, 0.225))
    frames = torch.randn(1, 3, 2, 64, 64)
    expected = model.backbone.model.fine(frames[:, :, 1].flip(1)).mean((2, 3))
    torch.testing.assert_close(model.encode_frames(frames)[:, 1], expected)


def test_a_configuration_runs_no_code(detectron2: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text(
        f"MODEL:\n  WEIGHTS: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path "
        f"[{tmp_path / 'executed'}]]\n"
    )
    with pytest.raises(ModelError, match=r"evil\.yaml: (?s:.*)must be plain YAML"):
        build_backbone(f"detectron2:{tmp_path / 'evil.yaml'}", pretrained=False, options={})
    assert not (tmp_path / "executed").exists()


def test_the_coarsest_map_is_the_default_and_images_are_padded(detectron2: Path) -> None:
    built = build_backbone(f"detectron2:{detectron2}", pretrained=False, options={})
    assert built.feature_dim == 6
    assert built.network(torch.zeros(2, 3, 40, 65)).shape == (2, 6)


def test_weights_are_loaded_as_detectron2_loads_them(detectron2: Path, tmp_path: Path) -> None:
    weights = Pyramid().state_dict()
    torch.save(weights, tmp_path / "w.pth")
    options = {"opts": ["MODEL.WEIGHTS", str(tmp_path / "w.pth")]}
    built = build_backbone(f"detectron2:{detectron2}", pretrained=True, options=options)
    torch.testing.assert_close(built.network.model.coarse.weight, weights["coarse.weight"])
    with pytest.raises(ModelError, match=r"VTN\.BACKBONE\.ARGS\.opts"):
        build_backbone(f"detectron2:{detectron2}", pretrained=True, options={})


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("none.yaml", {}, "not available in Model Zoo"),
        ("pyramid.yaml", {"feature": "p7"}, "must be one of p2, p5"),
        ("pyramid.yaml", {"depth": 3}, "must have the keys feature and opts only"),
    ],
)
def test_unknown_configurations_maps_and_arguments_are_refused(
    config: str, options: dict[str, Any], message: str, detectron2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(detectron2.parent)
    with pytest.raises(ModelError, match=message):
        build_backbone(f"detectron2:{config}", pretrained=False, options=options)


def test_a_missing_detectron2_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(module: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'detectron2'", name="detectron2")

    monkeypatch.setattr("vtn.backbones.detectron2_models.import_module", find_nothing)
    with pytest.raises(ModelError, match=r"detectron2 is not installed .* see https://detectron2"):
        build_backbone("detectron2:any.yaml", pretrained=False, options={})


@pytest.fixture
def unloaded_detectron2() -> Iterator[None]:
    """Removes detectron2 from ``sys.modules`` for a test that imports another package of that name."""

    def remove() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == "detectron2"]
        return {name: sys.modules.pop(name) for name in names}

    original = remove()
    yield
    remove()
    sys.modules.update(original)


@pytest.mark.usefixtures("unloaded_detectron2")
@pytest.mark.parametrize(
    ("code", "problem", "remedy"),
    [
        # As detectron2's model zoo does; setuptools 81 no longer has pkg_resources.
        ("import pkg_resources", "pkg_resources", "pip install 'setuptools<81'"),
        ("import iopath_absent", "No module named 'iopath_absent'", "install the package iopath_absent"),
        ("from detectron2 import _C", "cannot import name '_C'", "build detectron2 again"),
        ("raise ImportError('undefined symbol')", "undefined symbol", "build detectron2 again"),
    ],
)
def test_an_installed_detectron2_that_fails_to_import_is_reported_with_its_cause(
    code: str, problem: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The package is found, but one of its modules raises ``ImportError``."""
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "config.py").write_text("def get_cfg(): return None\n")
    (package / "model_zoo.py").write_text(f"{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    with pytest.raises(ModelError, match="detectron2 is installed but fails to import") as caught:
        build_backbone("detectron2:any.yaml", pretrained=False, options={})
    assert problem in str(caught.value)
    assert remedy in str(caught.value)
