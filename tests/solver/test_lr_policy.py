"""Learning rates against values computed by hand, and against PySlowFast's definition."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.config import get_default_config
from slowfast.errors import ConfigError
from slowfast.solver import build_lr_policy, lr_scale
from slowfast.solver.lr_policy import LR_POLICY_REGISTRY, check_warmup


def policy(**solver: Any) -> Any:
    cfg = get_default_config()
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    return build_lr_policy(cfg)


def test_cosine_goes_from_base_to_end_through_their_mean() -> None:
    lr = policy(LR_POLICY="cosine", BASE_LR=0.1, COSINE_END_LR=0.02, MAX_EPOCH=10)
    assert lr(0.0) == pytest.approx(0.1)
    assert lr(2.5) == pytest.approx(0.06 + 0.04 * 0.5**0.5)
    assert lr(5.0) == pytest.approx(0.06)
    assert lr(10.0) == pytest.approx(0.02)
    assert policy(LR_POLICY="cosine", MAX_EPOCH=10)(10.0) == 0


def test_warmup_is_a_line_to_the_cosines_value_at_its_end() -> None:
    lr = policy(LR_POLICY="cosine", BASE_LR=0.1, MAX_EPOCH=8, WARMUP_EPOCHS=4.0, WARMUP_START_LR=0.01)
    assert lr(0.0) == pytest.approx(0.01)
    assert lr(2.0) == pytest.approx((0.01 + 0.05) / 2)  # half of BASE_LR after half of the run
    assert lr(4.0) == pytest.approx(0.05)


def test_cosine_after_warmup_starts_at_the_base_learning_rate() -> None:
    lr = policy(LR_POLICY="cosine", BASE_LR=0.1, MAX_EPOCH=8, WARMUP_EPOCHS=4.0, COSINE_AFTER_WARMUP=True)
    assert lr(4.0) == pytest.approx(0.1)
    assert lr(6.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0.0, 1e-3), (12.99, 1e-3), (13.0, 1e-4), (23.5, 1e-4), (24.0, 1e-5), (24.9, 1e-5)],
)
def test_the_papers_steps_start_at_their_epochs(epoch: float, expected: float) -> None:
    lr = policy(
        LR_POLICY="steps_with_relative_lrs", BASE_LR=1e-3, STEPS=[0, 13, 24], LRS=[1, 0.1, 0.01], MAX_EPOCH=25
    )
    assert lr(epoch) == pytest.approx(expected)


@pytest.mark.parametrize(("warmup", "warns"), [(1.0, True), (3.0, True), (0.5, False)])
def test_a_warm_up_of_the_whole_run_is_warned_about(
    warmup: float, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a short trial of a long recipe: the warm-up leads to the end of the cosine, or past it."""
    cfg = get_default_config()
    cfg.SOLVER.LR_POLICY, cfg.SOLVER.BASE_LR, cfg.SOLVER.COSINE_END_LR = "cosine", 0.1, 0.001
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS = 1, warmup
    lr = build_lr_policy(cfg)
    assert (max(lr(step / 100) for step in range(100)) < 0.05) == warns
    check_warmup(cfg)
    assert (
        f"SOLVER.WARMUP_EPOCHS = {warmup:g}: the cosine ends at SOLVER.MAX_EPOCH = 1" in caplog.text
    ) == warns


def test_learning_rates_are_scaled_by_the_number_of_nodes_on_request() -> None:
    cfg = get_default_config()
    assert lr_scale(cfg, nodes=4) == 1
    cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS = True
    cfg.SOLVER.COSINE_END_LR = 0.01
    lr = build_lr_policy(cfg, lr_scale(cfg, nodes=4))
    assert lr(0.0) == pytest.approx(4 * cfg.SOLVER.BASE_LR)
    assert lr(cfg.SOLVER.MAX_EPOCH) == pytest.approx(0.04)


def defined_lr(solver: dict[str, Any], epoch: float, scale: float) -> float:
    """Returns the learning rate by PySlowFast's definition: a search for the step, and warm-up before it."""
    warmup, base = solver["WARMUP_EPOCHS"], scale * solver["BASE_LR"]

    def plain(at: float) -> float:
        if solver["LR_POLICY"] == "cosine":
            end, offset = scale * solver["COSINE_END_LR"], warmup if solver["COSINE_AFTER_WARMUP"] else 0.0
            fraction = (at - offset) / (solver["MAX_EPOCH"] - offset)
            return end + (base - end) * (math.cos(math.pi * fraction) + 1) / 2
        index = max(number for number, step in enumerate(solver["STEPS"]) if step <= at)
        return base * solver["LRS"][index]

    if epoch >= warmup:
        return plain(epoch)
    start = scale * solver["WARMUP_START_LR"]
    return start + (plain(warmup) - start) / warmup * epoch


@settings(max_examples=100)
@given(
    name=st.sampled_from(["cosine", "steps_with_relative_lrs"]),
    warmup=st.sampled_from([0.0, 0.5, 2.0, 3.7, 5.0]),
    after=st.booleans(),
    scale=st.sampled_from([1.0, 4.0]),
    quarters=st.integers(0, 40),
)
def test_learning_rates_follow_the_definition(
    name: str, warmup: float, after: bool, scale: float, quarters: int
) -> None:
    """At the end of the warm-up and at each step, too: all of them are quarters of an epoch."""
    solver = {
        "LR_POLICY": name,
        "BASE_LR": 0.1,
        "COSINE_END_LR": 0.003,
        "MAX_EPOCH": 10,
        "WARMUP_EPOCHS": warmup,
        "WARMUP_START_LR": 0.02,
        "COSINE_AFTER_WARMUP": after,
        "STEPS": [0, 2, 5, 7],
        "LRS": [1, 0.5, 0.1, 0.01],
    }
    cfg = get_default_config()
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    lr = build_lr_policy(cfg, scale)
    assert lr(quarters / 4) == pytest.approx(defined_lr(solver, quarters / 4, scale))


@pytest.mark.parametrize("lr", [math.nan, math.inf, -0.1, None, "0.1", [0.1]])
@pytest.mark.parametrize("warmup_epochs", [0.0, 2.0])
def test_an_unusable_learning_rate_of_a_users_schedule_is_an_error(
    lr: Any, warmup_epochs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = lambda cfg: lambda epoch: lr  # noqa: E731
    monkeypatch.setattr(LR_POLICY_REGISTRY, "get", lambda name: schedule)
    with pytest.raises(ConfigError, match=f"'broken'.*returned {re.escape(repr(lr))} for epoch"):
        policy(LR_POLICY="broken", WARMUP_EPOCHS=warmup_epochs)(1.0)


def test_a_learning_rate_of_numpy_becomes_a_number_that_checkpoints_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading a checkpoint unpickles no other objects."""
    schedule = lambda cfg: lambda epoch: np.interp(epoch, [0, 2], [0.1, 0.3])  # noqa: E731
    monkeypatch.setattr(LR_POLICY_REGISTRY, "get", lambda name: schedule)
    lr = policy(LR_POLICY="own")(1.0)
    assert (type(lr), lr) == (float, pytest.approx(0.2))
