"""Recomputed activations: the same step with less memory."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from slowfast.errors import ModelError
from tests.support.tiny_models import TINY
from vtn import VTN

NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "test_vit": {"img_size": 32},  # a transformer with layer norms
    "test_byobnet": {},  # a convolutional network with batch norms
}
FRAMES = 3


def model(network: str, **changes: Any) -> VTN:
    torch.manual_seed(0)
    arguments = {**TINY, "backbone_args": NETWORKS[network], "pretrained": False, "dropout_rate": 0.0}
    arguments |= {"hidden_dropout": 0.0, "attention_dropout": 0.0, **changes}
    return VTN(network, **arguments).train()


def step(vtn: VTN) -> tuple[dict[str, Tensor], int]:
    """Returns the gradients and the batch norms' statistics after a step, and the bytes kept for it."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    frames = torch.randn(1, 3, FRAMES, 32, 32, generator=torch.Generator().manual_seed(1))
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = vtn(frames).square().sum()
    forward = sum(kept.values())
    loss.backward()
    gradients = {name: p.grad for name, p in vtn.named_parameters() if p.grad is not None}
    statistics = {
        name: buffer.clone()
        for name, buffer in vtn.named_buffers()
        if "running" in name or "num_batches" in name
    }
    return {**gradients, **statistics}, forward


def test_frozen_blocks_of_another_dtype_can_be_recomputed_too() -> None:
    frozen = {"frozen_blocks": 1, "frozen_dtype": "bfloat16"}
    plain, _ = step(model("test_vit", **frozen))
    recomputed, _ = step(
        copy.deepcopy(model("test_vit", **frozen, act_checkpoint=True, act_checkpoint_every=1))
    )
    assert plain.keys() == recomputed.keys()
    for name, value in plain.items():
        torch.testing.assert_close(recomputed[name], value, msg=name)


@pytest.mark.parametrize("every", [0, 1, 2])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_is_the_same_with_recomputed_blocks(network: str, every: int) -> None:
    plain, _ = step(model(network))
    recomputed, _ = step(model(network, act_checkpoint=True, act_checkpoint_every=every))

    assert plain.keys() == recomputed.keys()
    for name, value in plain.items():
        torch.testing.assert_close(recomputed[name], value, msg=name)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_more_blocks_are_recomputed_the_less_is_kept(network: str) -> None:
    kept = {
        every: step(model(network, act_checkpoint=every > 0, act_checkpoint_every=every))[1]
        for every in (0, 1, 2)
    }
    assert kept[1] < kept[2] < kept[0]


def test_names_of_weights_stay_the_same_and_a_copy_computes_with_its_own() -> None:
    recomputing = model("test_vit", act_checkpoint=True, act_checkpoint_every=1)
    assert recomputing.state_dict().keys() == model("test_vit").state_dict().keys()
    duplicate = copy.deepcopy(recomputing)
    with torch.no_grad():
        for parameter in recomputing.backbone.parameters():
            parameter.zero_()

    values, _ = step(duplicate)

    expected, _ = step(model("test_vit"))
    for name, value in expected.items():
        torch.testing.assert_close(values[name], value, msg=name)


def test_frozen_blocks_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = model("test_vit", frozen_blocks=1, act_checkpoint=True, act_checkpoint_every=1)
    calls: list[str] = []
    for name, block in frozen.backbone.blocks.named_children():
        block.norm1.register_forward_hook(lambda *_, name=name: calls.append(name))

    step(frozen)

    assert calls.count("0") == 1
    assert calls.count("1") == 2


def test_a_network_without_blocks_is_refused_with_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"act_checkpoint_every = 2: ShallowConv\w* has no list of blocks"):
        VTN("shallow_conv", **{**TINY, "act_checkpoint": True, "act_checkpoint_every": 2})
