"""Learning rates against values computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from slowfast.config import get_default_config
from slowfast.solver import build_lr_policy, lr_scale


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


def test_learning_rates_are_scaled_by_the_number_of_nodes_on_request() -> None:
    cfg = get_default_config()
    assert lr_scale(cfg, nodes=4) == 1
    cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS = True
    cfg.SOLVER.COSINE_END_LR = 0.01
    lr = build_lr_policy(cfg, lr_scale(cfg, nodes=4))
    assert lr(0.0) == pytest.approx(4 * cfg.SOLVER.BASE_LR)
    assert lr(cfg.SOLVER.MAX_EPOCH) == pytest.approx(0.04)
