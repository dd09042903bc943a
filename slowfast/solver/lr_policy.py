"""Learning rates as pure functions of the fractional epoch, after PySlowFast's formulas.

Epoch 2.5 is the middle of the third epoch; the rate changes at every step.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from slowfast.errors import ConfigError

LRPolicy = Callable[[float], float]


def cosine(
    epoch: float, *, base_lr: float, end_lr: float, max_epoch: float, start_epoch: float = 0.0
) -> float:
    """Half a cosine from ``base_lr`` at ``start_epoch`` to ``end_lr`` at ``max_epoch``."""
    progress = (epoch - start_epoch) / (max_epoch - start_epoch)
    return end_lr + (base_lr - end_lr) * (math.cos(math.pi * progress) + 1.0) * 0.5


def steps_with_relative_lrs(
    epoch: float, *, base_lr: float, steps: Sequence[float], lrs: Sequence[float]
) -> float:
    """``base_lr × lrs[i]``, where ``steps[i]`` is the last step at or before ``epoch``.

    Args:
        steps: rising epochs, the first of them 0.
        lrs: as many rates, relative to ``base_lr``.
    """
    return base_lr * lrs[bisect.bisect_right(steps, epoch) - 1]


def with_warmup(epoch: float, *, policy: LRPolicy, warmup_epochs: float, start_lr: float) -> float:
    """A straight line from ``start_lr`` to where ``policy`` is at ``warmup_epochs``, then ``policy``."""
    if epoch >= warmup_epochs:
        return policy(epoch)
    return start_lr + (policy(warmup_epochs) - start_lr) * epoch / warmup_epochs


def lr_scale(cfg: Any, machines: int) -> float:
    """By what the rates of the configuration are multiplied.

    They are meant for one machine, and more of them make the batch larger.

    Args:
        machines: of the run, however it was started; ``NUM_SHARDS`` is one way of several to say it.
    """
    return float(machines) if cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS else 1.0


def build_lr_policy(cfg: Any, scale: float = 1.0) -> LRPolicy:
    """Returns the function from fractional epoch to learning rate that ``cfg.SOLVER`` describes.

    Args:
        scale: of all rates, see :func:`lr_scale`.
    """
    solver = cfg.SOLVER
    base_lr = solver.BASE_LR * scale
    policy: LRPolicy
    if solver.LR_POLICY == "cosine":
        policy = functools.partial(
            cosine,
            base_lr=base_lr,
            end_lr=solver.COSINE_END_LR * scale,
            max_epoch=solver.MAX_EPOCH,
            start_epoch=solver.WARMUP_EPOCHS if solver.COSINE_AFTER_WARMUP else 0.0,
        )
    elif solver.LR_POLICY == "steps_with_relative_lrs":
        policy = functools.partial(
            steps_with_relative_lrs, base_lr=base_lr, steps=tuple(solver.STEPS), lrs=tuple(solver.LRS)
        )
    else:
        raise ConfigError(
            f"SOLVER.LR_POLICY = {solver.LR_POLICY!r}: known are cosine and steps_with_relative_lrs"
        )
    if solver.WARMUP_EPOCHS <= 0:
        return policy
    return functools.partial(
        with_warmup,
        policy=policy,
        warmup_epochs=solver.WARMUP_EPOCHS,
        start_lr=solver.WARMUP_START_LR * scale,
    )
