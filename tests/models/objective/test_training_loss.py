"""The loss of a training, against torch's and torchvision's own losses, and what it makes a model learn."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from slowfast.errors import ConfigError
from slowfast.models.losses import cross_entropy, focal, focal_logit, soft_focal
from slowfast.models.objective.training_loss import TrainingLoss, build_plain_loss, build_training_loss
from tests.support.configs import make_config

B, K = 12, 4
LABELS = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns logits (B, K) and class indices (B,)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, K, generator=generator), torch.randint(0, K, (B,), generator=generator)


def config(**changes: Any) -> CfgNode:
    """Returns a configuration with keys of the section LOSS, and others by their names in full."""
    values = {key if "." in key else f"LOSS.{key}": value for key, value in changes.items()}
    return make_config({"MODEL.NUM_CLASSES": K, **values}, checked=False)


def several(labels: Tensor) -> Tensor:
    """Returns labels (B, K) of the class and the one after it."""
    return (F.one_hot(labels, K) + F.one_hot((labels + 1) % K, K)).float()


def test_without_changes_the_loss_is_the_registered_function_itself() -> None:
    assert build_training_loss(config(), LABELS) is cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_those_of_torch_up_to_the_scale_of_a_batch(smoothing: float) -> None:
    """torch divides by the sum of the batch's weights, this loss by the number of its clips."""
    logits, labels = batch()
    cfg = config(CLASS_WEIGHTS="balanced", LABEL_SMOOTHING=smoothing)
    weights = torch.tensor(100 / (K * np.array([40, 30, 20, 10])), dtype=torch.float32)
    each = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    expected = (weights[labels] * each).mean()
    assert build_training_loss(cfg, LABELS)(logits, labels).item() == pytest.approx(expected.item())
    if smoothing == 0:
        of_torch = F.cross_entropy(logits, labels, weight=weights)
        scale = weights[labels].mean()
        assert expected.item() == pytest.approx((of_torch * scale).item())


def test_a_loss_of_indices_alone_is_smoothed_over_all_classes() -> None:
    """For a loss that is linear in the labels this is the same as smoothed labels."""
    logits, labels = batch()
    plain = TrainingLoss(lambda logits, labels: F.cross_entropy(logits, labels), smoothing=0.2)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.2)
    assert plain(logits, labels).item() == pytest.approx(expected.item())
    weights = np.array([0.5, 1.0, 1.5, 2.0])
    each = functools.partial(F.cross_entropy, reduction="none")
    weighted = TrainingLoss(each, weights=weights, smoothing=0.2)
    expected = torch.from_numpy(weights)[labels] * each(logits, labels, label_smoothing=0.2)
    assert weighted(logits, labels).item() == pytest.approx(expected.mean().item())


def test_focal_losses_are_those_of_torchvision_and_of_the_formula() -> None:
    logits, labels = batch()
    scores = logits.softmax(1)[torch.arange(B), labels]
    assert focal(logits, labels, gamma=1.5).item() == pytest.approx(
        (-((1 - scores) ** 1.5) * scores.log()).mean().item()
    )
    assert focal(logits, labels, gamma=0.0).item() == pytest.approx(F.cross_entropy(logits, labels).item())
    of_torchvision = sigmoid_focal_loss(logits, several(labels), alpha=-1, gamma=2.0, reduction="mean")
    assert focal_logit(logits, several(labels)).item() == pytest.approx(of_torchvision.item())


def test_arguments_of_the_loss_come_from_the_configuration() -> None:
    logits, labels = batch()
    cfg = config(**{"MODEL.LOSS_FUNC": "focal"})
    cfg.LOSS.ARGS.gamma = 0.5
    expected = focal(logits, labels, gamma=0.5).item()
    assert build_plain_loss(cfg)(logits, labels).item() == pytest.approx(expected)
    assert build_training_loss(cfg, LABELS)(logits, labels).item() == pytest.approx(expected)
    cfg.LOSS.CLASS_WEIGHTS = "balanced"
    weighted = build_training_loss(cfg, LABELS)(logits, labels).item()
    cfg.LOSS.ARGS.gamma = 5.0
    assert build_training_loss(cfg, LABELS)(logits, labels).item() < weighted


def test_class_weights_refuse_a_loss_that_is_averaged_already() -> None:
    loss = TrainingLoss(cross_entropy, weights=np.ones(K))
    with pytest.raises(ConfigError, match=r"`each` must return the losses \(12,\) .* a tensor of shape \(\)"):
        loss(*batch())


def test_micro_batches_add_up_to_the_batch() -> None:
    logits, labels = batch()
    loss = build_training_loss(config(CLASS_WEIGHTS="balanced", LABEL_SMOOTHING=0.1), LABELS)
    parts = [loss(logits[i : i + 3], labels[i : i + 3]).item() for i in range(0, B, 3)]
    assert np.mean(parts) == pytest.approx(loss(logits, labels).item())


@pytest.mark.parametrize(
    ("changes", "fractions"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"LOGIT_ADJUSTMENT": 1.0}, [0.25] * 4),
        ({"CLASS_WEIGHTS": "balanced"}, [0.25] * 4),
        ({"LOGIT_ADJUSTMENT": 0.5}, np.sqrt([0.4, 0.3, 0.2, 0.1]) / np.sqrt([0.4, 0.3, 0.2, 0.1]).sum()),
    ],
)
def test_a_model_without_inputs_learns_the_classes_that_the_loss_asks_for(
    changes: dict[str, Any], fractions: Any
) -> None:
    """Its scores become the class frequencies; adjusted or weighted, all classes are equally likely."""
    loss = build_training_loss(config(**changes), LABELS)
    logits = torch.zeros(K, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=50, line_search_fn="strong_wolfe")
    labels = torch.from_numpy(LABELS)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(logits.expand(len(labels), K), labels)
        value.backward()
        return value

    optimizer.step(closure)
    assert logits.detach().softmax(0).numpy() == pytest.approx(np.asarray(fractions), abs=1e-3)


def test_bce_with_logit_adjustment_treats_presence_and_absence_alike() -> None:
    cfg = config(LOGIT_ADJUSTMENT=1.0, **{"MODEL.LOSS_FUNC": "bce_logit", "DATA.MULTI_LABEL": True})
    training = np.zeros((10, K), np.float32)
    training[:2, 0] = training[:5, 1:] = 1
    loss = build_training_loss(cfg, training)
    logits = torch.zeros(10, K, requires_grad=True)
    loss(logits, torch.from_numpy(training)).backward()
    # Zero logits are already the optimum: the gradients of all videos cancel class by class.
    assert logits.grad is not None
    assert logits.grad.sum(0).abs().max() < 1e-6


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_losses_of_a_certain_clip_have_finite_gradients(gamma: float) -> None:
    """The derivative of (1 - p) ** gamma is infinite where p is 1 and gamma below 1."""
    for loss, labels in (
        (focal, torch.tensor([0])),
        (soft_focal, torch.tensor([[1.0, 0.0, 0.0]])),
        (focal_logit, torch.tensor([[1.0, 0.0, 0.0]])),
    ):
        logits = torch.tensor([[30.0, -200.0, 0.0]], requires_grad=True)
        loss(logits, labels, gamma=gamma).backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
