"""Frozen backbones in training: a prepared copy gives the same features."""

from __future__ import annotations

import copy
import logging
import pickle
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast.errors import ModelError
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding, prepare_frozen_encoding
from tests.support.tiny_models import TINY
from vtn import VTN
from vtn.backbones.frames.encoding_network import EncodingNetwork

NETWORKS: Mapping[str, Mapping[str, Any]] = {"test_vit": {"img_size": 32}, "test_byobnet": {}}
CPU, SIZE = torch.device("cpu"), (32, 32)


def model(network: str = "test_byobnet", **changes: Any) -> VTN:
    torch.manual_seed(0)
    arguments = {**TINY, "backbone_args": NETWORKS[network], "pretrained": False, "frozen": True, **changes}
    vtn = VTN(network, **arguments)
    for module in vtn.backbone.modules():
        if isinstance(module, _BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return vtn.train()


def frames() -> Tensor:
    return torch.randn(2, 3, 4, *SIZE, generator=torch.Generator().manual_seed(1))


def distance(some: Tensor, exact: Tensor) -> float:
    return float((some.float() - exact).norm() / exact.norm())


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> list[EncodingNetwork]:
    """Notes the calls of prepared copies."""
    calls: list[EncodingNetwork] = []
    call = EncodingNetwork.__call__

    def note(prepared: EncodingNetwork, images: Tensor) -> Tensor:
        calls.append(prepared)
        return call(prepared, images)

    monkeypatch.setattr(EncodingNetwork, "__call__", note)
    return calls


def norms_of_the_copy(vtn: VTN) -> int:
    assert vtn._frozen_encoding is not None
    return sum(isinstance(module, _BatchNorm) for module in vtn._frozen_encoding._network.modules())


def test_features_in_float32_stay_the_same(uses: list[EncodingNetwork]) -> None:
    vtn = model()
    expected, names = vtn.encode_frames(frames()), list(vtn.state_dict())

    prepare_frozen_encoding(vtn, SIZE, CPU, None)

    assert norms_of_the_copy(vtn) == 0
    features = vtn.train().encode_frames(frames())
    assert not features.requires_grad
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(vtn.eval().encode_frames(frames()), expected, rtol=1e-4, atol=1e-5)
    assert len(uses) == 2
    assert list(vtn.state_dict()) == names


@pytest.mark.parametrize("way", ["FROZEN_DTYPE", "TRAIN.PRECISION"])
@pytest.mark.parametrize("network", NETWORKS)
def test_features_in_bfloat16_are_as_near_to_float32(
    network: str, way: str, uses: list[EncodingNetwork]
) -> None:
    exact = model(network).encode_frames(frames())
    own = way == "FROZEN_DTYPE"
    vtn = model(network, **({"frozen_dtype": "bfloat16"} if own else {}))
    with torch.autocast("cpu", torch.bfloat16, enabled=not own):
        of_autocast = vtn.encode_frames(frames())

    prepare_frozen_encoding(vtn, SIZE, CPU, None if own else torch.bfloat16)

    assert norms_of_the_copy(vtn) == 0
    with torch.autocast("cpu", torch.bfloat16, enabled=not own):
        error = distance(vtn.encode_frames(frames()), exact)
    assert len(uses) == 1
    assert 0 < error < 1.5 * distance(of_autocast, exact)


@pytest.mark.parametrize("changes", [{"frozen": False}, {"frozen": False, "frozen_blocks": 1}])
def test_a_backbone_that_is_trained_has_no_copy(changes: Mapping[str, Any]) -> None:
    vtn = model("test_vit", **changes)
    prepare_frozen_encoding(vtn, SIZE, CPU, torch.bfloat16)
    assert vtn._frozen_encoding is None


def test_a_network_that_a_copy_does_not_make_faster_has_none() -> None:
    vtn = model("test_vit")
    prepare_frozen_encoding(vtn, SIZE, CPU, None)
    assert vtn._frozen_encoding is None


def test_a_copy_in_which_nothing_is_folded_or_cast_is_dropped() -> None:
    vtn = model()
    layers = nn.BatchNorm2d(3), nn.Conv2d(3, vtn.feature_dim, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    vtn.backbone = nn.Sequential(*layers).requires_grad_(False).eval()
    prepare_frozen_encoding(vtn, SIZE, CPU, None)
    assert vtn._frozen_encoding is None


def test_an_unfrozen_backbone_gets_gradients_again(uses: list[EncodingNetwork]) -> None:
    vtn = model()
    prepare_frozen_encoding(vtn, SIZE, CPU, None)
    vtn.backbone.requires_grad_(True)
    assert vtn.encode_frames(frames()).requires_grad
    prepare_frozen_encoding(vtn, SIZE, CPU, None)
    assert vtn._frozen_encoding is None
    assert uses == []


def test_a_network_that_cannot_be_copied_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    vtn = model()
    conv = next(module for module in vtn.backbone.modules() if isinstance(module, nn.Conv2d))
    conv.kept = torch.ones(1, requires_grad=True) * 2  # not a leaf, such as torch's weight_norm keeps
    with caplog.at_level(logging.WARNING):
        prepare_frozen_encoding(vtn, SIZE, CPU, torch.bfloat16)
    assert vtn._frozen_encoding is None
    message = "the backbone cannot be copied for a faster computation of features: Only Tensors created"
    assert f"frozen backbone: used as it is; {message}" in caplog.text
    with pytest.raises(ModelError, match=re.escape(message) + ".*remove_weight_norm"):
        choose_encoding(vtn.eval(), EncodingRequest(), SIZE, CPU)


def test_new_weights_drop_the_copy(uses: list[EncodingNetwork]) -> None:
    vtn, other = model(), model()
    torch.nn.init.zeros_(next(other.backbone.parameters()))
    prepare_frozen_encoding(vtn, SIZE, CPU, None)

    vtn.load_state_dict(other.state_dict())

    torch.testing.assert_close(vtn.encode_frames(frames()), other.encode_frames(frames()))
    assert uses == []


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda vtn: pickle.loads(pickle.dumps(vtn))])  # noqa: S301
def test_a_copied_model_has_no_prepared_copy(duplicate: Any, uses: list[EncodingNetwork]) -> None:
    vtn = model("test_vit")
    expected = vtn.encode_frames(frames())
    prepare_frozen_encoding(vtn, SIZE, CPU, torch.bfloat16)
    torch.testing.assert_close(duplicate(vtn).encode_frames(frames()), expected)
    assert uses == []


def test_training_goes_on_without_the_copy_where_memory_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    vtn = model()
    monkeypatch.setattr(VTN, "prepare_frozen_encoding", fill)
    monkeypatch.setattr(torch, "get_device_module", lambda device: torch.cuda)
    with caplog.at_level(logging.WARNING):
        prepare_frozen_encoding(vtn, SIZE, CPU, None)
    assert "lacks memory for a prepared copy" in caplog.text
