"""The hint about a loss that does not move: when it is given, and what it contains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.config import load_config
from slowfast.engine.run import run
from slowfast.engine.training.stall import StallDetector
from slowfast.engine.training.train_step import Correct, StepResult
from slowfast.solver import build_lr_policy
from tests.support.run_results import losses_of
from tests.support.tiny import Tiny, tiny_config

BATCH: Any = None


def result(loss: float, accuracy: float = 0.25) -> StepResult:
    """Returns a step of 16 clips."""
    correct = Correct(round(16 * accuracy), 16)
    return StepResult(loss, 16, correct, grad_norm=0.5, broken=0, updated=True, stop=False)


def hints(detector: StallDetector, losses: Any, accuracy: float = 0.25) -> list[int]:
    """Returns the steps, from 1, at which a hint was given."""
    given = [detector.observe(result(float(loss), accuracy), BATCH, 0.001) for loss in losses]
    return [step for step, hint in enumerate(given, 1) if hint]


def noisy(mean: Any, steps: int = 400) -> np.ndarray:
    """Returns losses around a mean with the noise of small batches."""
    return np.random.default_rng(0).normal(mean, 0.1, steps)


def test_a_loss_at_the_level_of_the_class_frequencies_gives_one_hint() -> None:
    assert hints(StallDetector(100, chance=0.25), noisy(1.386)) == [100]


@pytest.mark.parametrize("seed", range(10))
def test_a_falling_loss_gives_none(seed: int) -> None:
    losses = noisy(np.linspace(1.386, 0.6, 400)) + np.random.default_rng(seed).normal(0, 0.05, 400)
    assert hints(StallDetector(100, chance=0.25), losses, accuracy=0.25) == []


def test_a_loss_that_falls_later_stops_the_checks() -> None:
    """After it has moved once, a plateau is the end of learning and not its absence."""
    losses = np.concatenate([noisy(np.linspace(1.4, 0.5, 100), 100), noisy(0.5, 300)])
    assert hints(StallDetector(100, chance=0.25), losses) == []


def test_an_accuracy_above_chance_gives_none() -> None:
    assert hints(StallDetector(100, chance=0.25), noisy(0.3), accuracy=0.9) == []


def test_nothing_is_checked_in_the_warm_up_or_in_a_resumed_run() -> None:
    assert hints(StallDetector(100, chance=0.25, first_check=150), noisy(1.386)) == [300]
    assert hints(StallDetector(100, starts_new=False), noisy(1.386)) == []
    assert hints(StallDetector(0), noisy(1.386)) == []


def test_the_hint_has_the_measurements() -> None:
    detector = StallDetector(
        4, chance=0.25, describe=lambda batch: ["states differ by 0.01"], advice="Use adamw."
    )
    given = [detector.observe(result(1.386), BATCH, 0.001) for _ in range(4)]
    assert given[-1] == (
        "loss has not moved in 4 steps: mean 1.3860 over the first 2, 1.3860 over the last 2; accuracy "
        "25.0 %, the largest class has 25.0 %; learning rate 0.001; gradient norm 0.5 (± 0); states differ "
        "by 0.01. Use adamw."
    )


def test_a_run_logs_the_hint_and_is_not_changed_by_it(colour_videos: Path, tmp_path: Path) -> None:
    # The untrained model of this seed is not better than the largest class by chance.
    stuck = ("SOLVER.BASE_LR", 1e-9, "TRAIN.MAX_STEPS", 8, "TEST.ENABLE", False, "RNG_SEED", 2)
    for name, steps in (("a", 4), ("b", 0)):
        assert run(tiny_config(colour_videos, tmp_path / name, *stuck, "TRAIN.STALL_STEPS", steps)) == 0
    logs = [(tmp_path / name / "stdout.log").read_text() for name in "ab"]
    assert logs[0].count("loss has not moved in ") == 1
    assert "use SOLVER.OPTIMIZING_METHOD adamw" in logs[0]
    assert "has not moved" not in logs[1]
    one, other = (losses_of(tmp_path / name) for name in "ab")
    assert one == other


def test_an_error_without_a_message_in_the_measurement_does_not_end_the_run(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError

    for method in ("encode_frames", "classify", "describe_states"):
        monkeypatch.setattr(Tiny, method, fail, raising=False)
    stuck = ("SOLVER.BASE_LR", 1e-9, "RNG_SEED", 2)
    short = ("TRAIN.MAX_STEPS", 8, "TRAIN.STALL_STEPS", 4, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *stuck, *short)) == 0
    assert "the states could not be measured (RuntimeError)" in caplog.text


@pytest.mark.parametrize("method", ["sgd", "adamw"])
def test_the_advised_values_are_a_warm_up_from_below(
    method: str, colour_videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A configuration that follows the hint word for word has no learning rate above its BASE_LR."""
    warm_up = ("SOLVER.WARMUP_EPOCHS", 0.5, "SOLVER.WARMUP_START_LR", 1e-10)
    stuck = ("SOLVER.BASE_LR", 1e-9, "SOLVER.OPTIMIZING_METHOD", method, *warm_up, "RNG_SEED", 2)
    short = ("TRAIN.MAX_STEPS", 8, "TRAIN.STALL_STEPS", 4, "TEST.ENABLE", False)
    assert run(tiny_config(colour_videos, tmp_path, *stuck, *short)) == 0
    (hint,) = (text for text in caplog.messages if "loss has not moved in" in text)
    advised = re.findall(r"(SOLVER\.\w+) (adamw|[\d.e-]*\d)", hint)
    assert "SOLVER.WARMUP_START_LR" in dict(advised)
    settings = {"SOLVER.WARMUP_EPOCHS": "0.5", "SOLVER.BASE_LR": "1e-9", **dict(advised)}
    cfg = load_config("VIT_B_VTN", [text for pair in settings.items() for text in pair])
    lr = build_lr_policy(cfg)
    assert max(lr(epoch / 100) for epoch in range(100)) == cfg.SOLVER.BASE_LR
