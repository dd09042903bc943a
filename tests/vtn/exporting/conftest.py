"""Tiny models with the sampling of their frames, and a folder with their exported parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version

import vtn
from tests.support.tiny_models import with_large_weights
from vtn.exporting.export import ExportRequest, export_model
from vtn.exporting.report import ExportReport

BACKBONES: dict[str, dict[str, Any]] = {
    "shallow_conv": {"image_size": 32, "width": 4, "feature_dim": 24},
    "test_vit": {"img_size": 32, "depth": 2},
}
_SMALL = {
    "hidden_dim": 32, "num_layers": 2, "num_heads": 2, "attention_window": 4, "intermediate_size": 48,
    "mlp_dim": 16,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _torch_that_traces() -> None:
    if Version(torch.__version__) < Version("2.11"):
        pytest.skip("torch 2.9 and 2.10 cannot trace some encoders, as the message of the export says")


@pytest.fixture(scope="session", autouse=True)
def _short_measurements() -> Iterator[None]:
    """Measures times with a few passes; the figures are not tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vtn.exporting.comparison._SECONDS", 0.01)
        yield


def make_model(backbone: str = "shallow_conv", **changes: Any) -> Any:
    """Returns a model with a small encoder, whose scores are logits of unit size."""
    model: Any = vtn.create_model(
        "QUICKSTART",
        num_classes=3,
        backbone=backbone,
        backbone_args=BACKBONES[backbone],
        pretrained=False,
        **{**_SMALL, **changes},
    )
    model.class_names = ("left", "right", "still")
    model.evaluation = {**model.evaluation, "MODEL.HEAD_ACT": "none"}
    with_large_weights(model)
    with torch.no_grad():
        model.mlp_head[-1].weight.mul_(0.1)
    return model


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with a transformer, the folder with its two parts as ONNX, and the report of the export."""
    model = make_model("test_vit")
    folder = tmp_path_factory.mktemp("exported")
    report = export_model(model, ExportRequest(str(folder), parts=("backbone", "encoder")))
    return model, folder, report


Exported = tuple[Any, Path, ExportReport]
MakeModel = Callable[..., Any]


@pytest.fixture(scope="session", name="make_model")
def _make_model() -> MakeModel:
    return make_model
