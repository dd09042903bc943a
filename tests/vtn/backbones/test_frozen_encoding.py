"""Frozen backbones in training: prepared copies give the same features."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.tiny_models import TINY
from vtn import VTN
from vtn.backbones.frames.frozen_encoding import FrozenEncoding

NETWORKS: Mapping[str, Mapping[str, Any]] = {"test_vit": {"img_size": 32}, "test_byobnet": {}}


def model(network: str = "test_byobnet", **changes: Any) -> VTN:
    torch.manual_seed(0)
    arguments = {**TINY, "backbone_args": NETWORKS[network], "pretrained": False, "frozen": True, **changes}
    vtn = VTN(network, **arguments)
    for module in vtn.backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return vtn.train()


def frames() -> Tensor:
    return torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


def of_the_network_itself(vtn: VTN, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(FrozenEncoding, "find", lambda *_: None)
        return vtn.encode_frames(frames())


@pytest.mark.parametrize("network", NETWORKS)
def test_features_in_float32_stay_the_same(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vtn = model(network)
    expected = of_the_network_itself(vtn, monkeypatch)

    features = vtn.encode_frames(frames())

    assert not features.requires_grad
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    copied = vtn._frozen.find(frames()[0], None) is not None
    assert copied == (network == "test_byobnet"), "a network without batch norms has no use for a copy"


@pytest.mark.parametrize("way", ["FROZEN_DTYPE", "autocast"])
@pytest.mark.parametrize("network", NETWORKS)
def test_features_in_bfloat16_are_as_near_to_float32(
    network: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = of_the_network_itself(model(network), monkeypatch)
    vtn = model(network, **({"frozen_dtype": "bfloat16"} if way == "FROZEN_DTYPE" else {}))
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        of_autocast = of_the_network_itself(vtn, monkeypatch)
        features = vtn.encode_frames(frames())

    error = float((features - exact).norm() / exact.norm())
    assert 0 < error < 1.5 * float((of_autocast.float() - exact).norm() / exact.norm())


def test_weights_that_change_take_effect() -> None:
    vtn = model()
    before = vtn.encode_frames(frames())
    other = model()
    torch.nn.init.zeros_(next(other.backbone.parameters()))
    expected = other.encode_frames(frames())

    vtn.backbone.load_state_dict(other.backbone.state_dict())

    torch.testing.assert_close(vtn.encode_frames(frames()), expected)
    assert not torch.allclose(before, expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda vtn: pickle.loads(pickle.dumps(vtn))])  # noqa: S301
def test_a_copy_of_the_model_computes_with_its_own_weights(duplicate: Any) -> None:
    vtn = model()
    expected = vtn.encode_frames(frames())
    twin = duplicate(vtn)
    with torch.no_grad():
        for parameter in vtn.backbone.parameters():
            parameter.zero_()

    torch.testing.assert_close(twin.encode_frames(frames()), expected)


def test_the_state_dict_has_no_copies() -> None:
    vtn = model()
    names = list(vtn.state_dict())
    vtn.encode_frames(frames())
    assert list(vtn.state_dict()) == names
