"""All losses with all changes of the section LOSS, against loops over clips and classes in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray

from slowfast.config import get_default_config
from slowfast.errors import ConfigError
from slowfast.models.losses import LOSS_REGISTRY
from slowfast.models.objective.training_loss import build_training_loss

K = 4
# Class 3 has no training video; of several labels, class 0 is rare and class 2 is in all videos but one.
SINGLE = np.array([0] * 9 + [1] * 4 + [2])
SEVERAL = np.array([[i == 0, i % 2, i > 0, 0] for i in range(14)], np.float32)
INDEPENDENT = ("bce_logit", "focal_logit")
LOSSES = ("cross_entropy", "soft_cross_entropy", "focal", "soft_focal", *INDEPENDENT)


def cfg_of(loss: str, *, weighted: bool, tau: float, epsilon: float) -> CfgNode:
    cfg = get_default_config()
    cfg.MODEL.NUM_CLASSES, cfg.MODEL.LOSS_FUNC = K, loss
    cfg.LOSS.CLASS_WEIGHTS = "balanced" if weighted else "none"
    cfg.LOSS.LOGIT_ADJUSTMENT, cfg.LOSS.LABEL_SMOOTHING = tau, epsilon
    return cfg


def loss_of_distribution(
    logits: NDArray[Any], label: NDArray[Any], gamma: float, weighted: bool, tau: float, epsilon: float
) -> float:
    """Returns the loss of one clip by the formulas for one class per video."""
    videos = np.bincount(SINGLE, minlength=K)
    # Balanced weights are N / (K n) over the classes that have videos.
    of_class = [len(SINGLE) / (np.count_nonzero(videos) * n) if n and weighted else 1.0 for n in videos]
    weight = sum(label[k] * of_class[k] for k in range(K)) / sum(label)
    prior = np.array([n if n else 0.5 for n in videos]) / (len(SINGLE) + 0.5)
    scores = np.exp(logits + tau * np.log(prior))
    scores /= scores.sum()
    total = 0.0
    for k in range(K):
        smoothed = (1 - epsilon) * label[k] + epsilon * sum(label) / K
        total -= smoothed * (1 - scores[k]) ** gamma * math.log(scores[k])
    return weight * total


def loss_of_decisions(
    logits: NDArray[Any], label: NDArray[Any], gamma: float, weighted: bool, tau: float, epsilon: float
) -> float:
    """Returns the loss of one clip by the formulas for videos of several classes."""
    total, N = 0.0, len(SEVERAL)
    for k in range(K):
        present = SEVERAL[:, k].sum()
        absent = N - present
        # Of a class that all or no videos have, there is nothing to balance.
        of_presence, of_absence = (N / (2 * present), N / (2 * absent)) if present and absent else (1.0, 1.0)
        weight = label[k] * of_presence + (1 - label[k]) * of_absence if weighted else 1.0
        odds = tau * math.log((present or 0.5) / (absent or 0.5))
        score = 1 / (1 + math.exp(-logits[k] - odds))
        smoothed = (1 - epsilon) * label[k] + epsilon / 2
        total -= weight * smoothed * (1 - score) ** gamma * math.log(score)
        total -= weight * (1 - smoothed) * score**gamma * math.log(1 - score)
    return total / K


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
@pytest.mark.parametrize("tau", [0.0, 0.7])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_the_formulas(name: str, weighted: bool, tau: float, epsilon: float) -> None:
    independent = name in INDEPENDENT
    cfg = cfg_of(name, weighted=weighted, tau=tau, epsilon=epsilon)
    gamma = 0.0
    if "focal" in name:
        gamma = 1.5 if tau else 2.0  # 2 is the default
        cfg.LOSS.ARGS = CfgNode({"gamma": gamma} if tau else {})
    loss = build_training_loss(cfg, SEVERAL if independent else SINGLE)
    rng = np.random.default_rng(0)
    for scale in (1.0, 8.0):  # uncertain and certain clips
        logits = scale * rng.normal(size=(6, K))
        if independent:
            labels = rng.random((6, K)).round(1)
        elif "soft" in name:
            labels = rng.dirichlet(np.ones(K), 6)
            labels[0] *= 2  # a clip of two classes
        else:
            labels = np.eye(K)[[0, 1, 2, 3, 1, 2]]
        formula = loss_of_decisions if independent else loss_of_distribution
        each = [formula(*clip, gamma, weighted, tau, epsilon) for clip in zip(logits, labels, strict=True)]
        values = torch.from_numpy(labels)
        by_index = name in ("cross_entropy", "focal")
        found = loss(torch.from_numpy(logits), values.argmax(1) if by_index else values)
        assert float(found) == pytest.approx(np.mean(each), rel=2e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_bfloat16_are_computed_in_float32(name: str) -> None:
    logits = torch.randn(6, K, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(6) % K
    if name not in ("cross_entropy", "focal"):
        labels = torch.nn.functional.one_hot(labels, K).bfloat16()
    loss = LOSS_REGISTRY.get(name)
    found = loss(logits, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(logits.float(), labels))


def test_the_forms_of_an_unknown_loss_are_refused() -> None:
    with pytest.raises(ConfigError, match="no_loss"):
        LOSS_REGISTRY.forms_of("no_loss")


@pytest.mark.parametrize("name", ["focal", "soft_focal"])
def test_the_focal_loss_of_a_clip_that_is_almost_certain(name: str) -> None:
    """(1 − p)² of p = 1 − 10⁻³ is 10⁻⁶; a bound of p that avoids infinite gradients must not change it."""
    odds = torch.tensor([[math.log(999.0), 0.0]], dtype=torch.float64)
    cfg = get_default_config()
    cfg.MODEL.NUM_CLASSES, cfg.MODEL.LOSS_FUNC, cfg.LOSS.ARGS = 2, name, CfgNode({"gamma": 2.0})
    label = torch.tensor([0]) if name == "focal" else torch.tensor([[1.0, 0.0]])
    expected = (1 / 1000) ** 2 * -math.log(0.999)
    assert float(build_training_loss(cfg, np.array([0, 1]))(odds, label)) == pytest.approx(expected, rel=1e-3)
