"""The network from a package: real ImageNet weights without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slowfast.errors import CheckpointError, ModelError
from tests.support.backbones.small_vit import features_of
from vtn.backbones.build import build_backbone
from vtn.backbones.efficientnet_lite0 import PACKAGE, rename_by_order, weights_file


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
        file, classifier = Path("w.pth"), {"fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
        assert rename_by_order(
            {"x.weight": ours["a.weight"], "x.bias": ours["a.bias"], **classifier}, ours, file
        )
        for theirs in (
            {"x.bias": torch.zeros(2), "x.weight": torch.zeros(3)},
            {"x.weight": torch.zeros(3), "x.bias": torch.zeros(3)},
            {"x.weight": torch.zeros(2)},
        ):
            with pytest.raises(CheckpointError, match="does not contain the weights"):
                rename_by_order({**theirs, **classifier}, ours, file)

    def test_the_error_without_the_package_names_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(_: str) -> None:
            raise ModuleNotFoundError

        monkeypatch.setattr("vtn.backbones.efficientnet_lite0.resources.files", missing)
        with pytest.raises(ModelError, match=r"slowfast-vtn\[pretrained-demo\]"):
            build_backbone("efficientnet_lite0_imagenet", pretrained=True, options={})
