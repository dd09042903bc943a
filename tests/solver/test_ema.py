"""Moving averages of weights: the formula, the averaged tensors, evaluation with the average, its state."""

from __future__ import annotations

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from slowfast.config import get_default_config
from slowfast.solver.ema import WeightAverage, build_average


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).requires_grad_(False))


def train_step(model: nn.Module) -> None:
    """Changes all tensors that training changes."""
    model(torch.randn(8, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_equals_timms(warmup: bool) -> None:
    model = network()
    ours = WeightAverage(model, decay=0.9, warmup=warmup)
    theirs = ModelEmaV3(model, decay=0.9, use_warmup=warmup)
    for step in range(5):
        train_step(model)
        ours.update()
        theirs.update(model, step=step + 1 if warmup else None)
    expected = theirs.module.state_dict()
    for name, average in ours.state_dict()["weights"].items():
        torch.testing.assert_close(average, expected[name])


def test_warmup_starts_with_the_weights_and_reaches_the_decay() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.9, warmup=True)
    expected = 0.0
    for update in range(40):
        with torch.no_grad():
            model.weight.fill_(update)
        average.update()
        decay = min(0.9, 1 - (1 + update) ** (-2 / 3))
        expected = decay * expected + (1 - decay) * update
        assert average.state_dict()["weights"]["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert decay == 0.9


@pytest.mark.parametrize(("warmup", "average"), [(False, 0.25), (True, 1.0)])
def test_a_configuration_states_decay_and_warmup(warmup: bool, average: float) -> None:
    cfg = get_default_config()
    assert build_average(cfg, network()) is None
    cfg.MODEL_EMA.ENABLE, cfg.MODEL_EMA.DECAY, cfg.MODEL_EMA.WARMUP = True, 0.75, warmup
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    built = build_average(cfg, model)
    assert built is not None
    nn.init.ones_(model.weight)
    built.update()
    assert built.state_dict()["weights"]["weight"].item() == average


def test_only_tensors_that_training_changes_are_averaged() -> None:
    names = WeightAverage(network(), decay=0.9).state_dict()["weights"]
    assert sorted(names) == ["0.bias", "0.weight", "1.bias", "1.running_mean", "1.running_var", "1.weight"]


def test_evaluation_in_place_restores_weights_and_average_bit_by_bit() -> None:
    model = network()
    average = WeightAverage(model, decay=0.5)
    train_step(model)
    average.update()
    weight, averaged = model[0].weight.detach().clone(), average.state_dict()["weights"]["0.weight"].clone()
    with average.in_place():
        assert torch.equal(model[0].weight, averaged)
    assert torch.equal(model[0].weight, weight)
    assert torch.equal(average.state_dict()["weights"]["0.weight"], averaged)
