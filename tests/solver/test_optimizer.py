"""Weight decay and learning rate of each parameter, and optimisers by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast.config import get_default_config
from slowfast.errors import ConfigError
from slowfast.solver import build_optimizer, set_learning_rate
from slowfast.solver.optimizer import parameter_groups


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 2))
        self.conv = nn.Conv1d(2, 2, 1)
        self.linear = nn.Linear(2, 2)
        self.batch_norm = nn.BatchNorm1d(2)
        self.layer_norm = nn.LayerNorm(2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def no_weight_decay(self) -> set[str]:
        return {"token"}

    def layer_id(self, name: str) -> tuple[int, int]:
        return (0 if name.startswith(("token", "conv")) else 2), 3


def by_name(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


def test_every_trainable_parameter_is_in_one_group_and_frozen_ones_in_none() -> None:
    net = Net()
    groups = parameter_groups(net, weight_decay=0.1)
    found = [pair for group in groups for pair in group["params"]]
    assert {name: id(parameter) for name, parameter in found} == {
        name: id(parameter) for name, parameter in net.named_parameters() if parameter.requires_grad
    }
    assert len(found) == 9


def test_batch_norms_have_their_own_weight_decay() -> None:
    net = Net()
    groups = parameter_groups(net, weight_decay=0.1, bn_weight_decay=0.3)
    found = {name: group for group in groups for name, _ in group["params"]}
    assert {name for name, group in found.items() if group["weight_decay"] == 0.3} == {
        "batch_norm.weight",
        "batch_norm.bias",
    }
    assert found["layer_norm.weight"]["weight_decay"] == 0.1


def test_vectors_and_named_parameters_have_no_weight_decay_on_request() -> None:
    cfg = get_default_config()
    cfg.SOLVER.ZERO_WD_1D_PARAM = True
    net = Net()
    found = by_name(net, build_optimizer(cfg, net).param_groups)
    decaying = {name for name, group in found.items() if group["weight_decay"] > 0}
    assert decaying == {"conv.weight", "linear.weight"}
    cfg.SOLVER.ZERO_WD_1D_PARAM = False
    found = by_name(net, build_optimizer(cfg, net).param_groups)
    assert found["token"]["weight_decay"] == cfg.SOLVER.WEIGHT_DECAY


def test_layer_decay_lowers_the_learning_rate_towards_the_input() -> None:
    cfg = get_default_config()
    cfg.SOLVER.LAYER_DECAY = 0.5
    net = Net()
    optimizer = build_optimizer(cfg, net)
    set_learning_rate(optimizer, 0.8)
    found = by_name(net, optimizer.param_groups)
    assert found["conv.weight"]["lr"] == pytest.approx(0.2)
    assert found["layer_norm.weight"]["lr"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("method", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimisers_are_built_by_name(method: str, kind: type) -> None:
    cfg = get_default_config()
    cfg.SOLVER.OPTIMIZING_METHOD, cfg.SOLVER.BASE_LR = method, 0.123
    optimizer = build_optimizer(cfg, Net())
    assert type(optimizer) is kind
    assert {group["lr"] for group in optimizer.param_groups} == {0.123}


@pytest.mark.parametrize(("momentum", "dampening"), [(0.0, 0.0), (0.9, 0.1)])
def test_nesterov_is_off_where_its_step_is_not_defined(momentum: float, dampening: float) -> None:
    """As in PySlowFast, whose default is True."""
    cfg = get_default_config()
    cfg.SOLVER.OPTIMIZING_METHOD, cfg.SOLVER.NESTEROV = "sgd", True
    cfg.SOLVER.MOMENTUM, cfg.SOLVER.DAMPENING = momentum, dampening
    assert not build_optimizer(cfg, Net()).param_groups[0]["nesterov"]


@pytest.mark.parametrize("dampening", [0.0, 0.25])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_sgd_takes_the_steps_of_torch_also_after_a_restored_momentum(
    layout: torch.memory_format, dampening: float
) -> None:
    cfg = get_default_config()
    cfg.SOLVER.OPTIMIZING_METHOD, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = "sgd", 0.1, 0.01
    cfg.SOLVER.MOMENTUM, cfg.SOLVER.DAMPENING, cfg.SOLVER.NESTEROV = 0.9, dampening, dampening == 0
    torch.manual_seed(0)
    ours = nn.Conv2d(2, 4, 3).to(memory_format=layout)
    theirs = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    optimizer = build_optimizer(cfg, ours)
    set_learning_rate(optimizer, 0.1)
    reference = torch.optim.SGD(
        theirs.parameters(),
        lr=0.1,
        momentum=0.9,
        dampening=dampening,
        nesterov=dampening == 0,
        weight_decay=0.01,
        foreach=False,
    )
    for step in range(4):
        if step == 2:
            optimizer.load_state_dict(contiguous(optimizer.state_dict()))
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = torch.randn(other.shape)
            own.grad = other.grad.clone()
        optimizer.step()
        reference.step()

    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, other)


def contiguous(state: dict[str, Any]) -> dict[str, Any]:
    """Returns an optimiser's state as it is read from a file."""
    momenta = {
        number: {name: value.contiguous() for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": momenta}


@pytest.mark.parametrize(("momentum", "dampening"), [(0.9, 0.0), (0.9, 0.5), (0.0, 0.0)])
def test_parameters_without_momentum_start_theirs_while_others_go_on(
    momentum: float, dampening: float
) -> None:
    cfg = get_default_config()
    cfg.SOLVER.OPTIMIZING_METHOD, cfg.SOLVER.WEIGHT_DECAY = "sgd", 0.01
    cfg.SOLVER.MOMENTUM, cfg.SOLVER.DAMPENING, cfg.SOLVER.NESTEROV = momentum, dampening, False
    torch.manual_seed(0)
    ours = nn.Linear(3, 2)
    theirs = copy.deepcopy(ours)
    optimizer = build_optimizer(cfg, ours)
    set_learning_rate(optimizer, 0.1)
    reference = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=momentum, dampening=dampening, weight_decay=0.01, foreach=False
    )
    for with_gradient in (["weight"], ["weight", "bias"], ["weight", "bias"]):
        for model in (ours, theirs):
            torch.manual_seed(len(with_gradient))
            for name, parameter in model.named_parameters():
                parameter.grad = torch.randn(parameter.shape) if name in with_gradient else None
        optimizer.step()
        reference.step()

    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, other)


def test_layer_decay_needs_a_model_with_depths() -> None:
    cfg = get_default_config()
    cfg.SOLVER.LAYER_DECAY = 0.5
    with pytest.raises(ConfigError, match=r"SOLVER.LAYER_DECAY = 0.5: must be 1 for a model without"):
        build_optimizer(cfg, nn.Linear(2, 2))


def test_parts_of_the_model_have_their_own_factor_of_the_learning_rate() -> None:
    net = Net()
    factors = {"conv": 0.1, "conv.weight": 0.5, "layer_norm": 10.0}
    groups = parameter_groups(net, weight_decay=0.1, lr_factors=factors)
    scales = {name: group["lr_scale"] for group in groups for name, _ in group["params"]}
    assert scales["conv.weight"] == 0.5  # the longest name that fits
    assert scales["conv.bias"] == 0.1
    assert scales["layer_norm.weight"] == 10
    assert scales["token"] == scales["batch_norm.weight"] == 1
    both = parameter_groups(net, weight_decay=0.1, lr_factors=factors, layer_decay=0.5, layer_id=net.layer_id)
    scales = {name: group["lr_scale"] for group in both for name, _ in group["params"]}
    assert scales["conv.bias"] == pytest.approx(0.1 * 0.25)


@pytest.mark.parametrize("part", ["frozen", "layer", "head"])
def test_a_factor_for_a_part_without_trainable_parameters_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match=rf"SOLVER\.LR_FACTORS\.{part}: must be .* token, conv, "):
        parameter_groups(Net(), weight_decay=0.1, lr_factors={part: 2.0})


def test_the_factors_are_read_from_the_configuration() -> None:
    cfg = get_default_config()
    cfg.SOLVER.LR_FACTORS.conv = CfgNode({"weight": 0.5}, new_allowed=True)
    optimizer = build_optimizer(cfg, net := Net())
    scales = {name: group["lr_scale"] for name, group in by_name(net, optimizer.param_groups).items()}
    assert (scales["conv.weight"], scales["conv.bias"]) == (0.5, 1.0)


@pytest.mark.parametrize("net", [nn.Flatten(), Net().requires_grad_(False)])
def test_a_model_without_trained_parameters_is_an_error(net: nn.Module) -> None:
    with pytest.raises(ConfigError, match="must have a parameter with requires_grad"):
        build_optimizer(get_default_config(), net)
