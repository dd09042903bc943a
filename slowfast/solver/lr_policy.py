"""Learning rates as pure functions of the fractional epoch, after PySlowFast's formulas.

Epoch 2.5 is the middle of the third epoch; the learning rate changes at every step.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.errors import ConfigError
from slowfast.log import get_logger
from slowfast.registry import Registry, import_user_modules

logger = get_logger(__name__)

LRPolicy = Callable[[float], float]
"""A function from fractional epoch to learning rate."""

LR_POLICY_REGISTRY: Registry[Callable[[CfgNode], LRPolicy]] = Registry(
    "learning-rate policy", "SOLVER.LR_POLICY", arguments=("cfg",)
)
"""Functions of the configuration that return an :data:`LRPolicy`.

``SOLVER.BASE_LR`` and ``SOLVER.COSINE_END_LR`` are already scaled by the number of nodes, see
:func:`lr_scale`. The warm-up is added by :func:`build_lr_policy`. This module must not import torch.
"""


def cosine(epoch: float, *, base_lr: float, end_lr: float, max_epoch: float, start_epoch: float) -> float:
    """Returns a point of half a cosine from ``base_lr`` at ``start_epoch`` to ``end_lr`` at ``max_epoch``."""
    progress = (epoch - start_epoch) / (max_epoch - start_epoch)
    return end_lr + (base_lr - end_lr) * (math.cos(math.pi * progress) + 1.0) * 0.5


def steps_with_relative_lrs(
    epoch: float, *, base_lr: float, steps: Sequence[float], lrs: Sequence[float]
) -> float:
    """Returns ``base_lr × lrs[i]``, where ``steps[i]`` is the last step at or before ``epoch``.

    Args:
        steps: ascending epochs, the first of them 0.
        lrs: one learning rate per step, relative to ``base_lr``.
    """
    return base_lr * lrs[bisect.bisect_right(steps, epoch) - 1]


def with_warmup(epoch: float, *, policy: LRPolicy, warmup_epochs: float, start_lr: float) -> float:
    """Returns a straight line from ``start_lr`` to ``policy(warmup_epochs)``, and then ``policy(epoch)``."""
    if epoch >= warmup_epochs:
        return policy(epoch)
    return start_lr + (policy(warmup_epochs) - start_lr) * epoch / warmup_epochs


def usable_lr(epoch: float, *, policy: LRPolicy, name: str) -> float:
    """Returns ``policy(epoch)`` for a registered policy, which may be a user's.

    Raises:
        ConfigError: where it is not a finite number of 0 or more; a step with it would spoil the weights.
    """
    found: Any = policy(epoch)
    try:
        # A number of NumPy would become part of the checkpoint, which is read without unpickling such.
        lr = math.nan if isinstance(found, str) else float(found)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several values
        lr = math.nan
    if not 0 <= lr < math.inf:
        raise ConfigError(
            f"SOLVER.LR_POLICY = {name!r}: must return a finite learning rate of 0 or more for each epoch, "
            f"and has returned {found!r} for epoch {epoch:g}"
        )
    return lr


@LR_POLICY_REGISTRY.register("cosine")
def build_cosine(cfg: CfgNode) -> LRPolicy:
    """Builds :func:`cosine` as ``cfg.SOLVER`` describes it."""
    solver = cfg.SOLVER
    return functools.partial(
        cosine,
        base_lr=solver.BASE_LR,
        end_lr=solver.COSINE_END_LR,
        max_epoch=solver.MAX_EPOCH,
        start_epoch=solver.WARMUP_EPOCHS if solver.COSINE_AFTER_WARMUP else 0.0,
    )


@LR_POLICY_REGISTRY.register("steps_with_relative_lrs")
def build_steps(cfg: CfgNode) -> LRPolicy:
    """Builds :func:`steps_with_relative_lrs` as ``cfg.SOLVER`` describes it."""
    solver = cfg.SOLVER
    return functools.partial(
        steps_with_relative_lrs,
        base_lr=solver.BASE_LR,
        steps=tuple(solver.STEPS),
        lrs=tuple(solver.LRS),
    )


def lr_scale(cfg: CfgNode, nodes: int) -> float:
    """Returns the factor of all learning rates of the configuration.

    The learning rates are meant for one node; more nodes make the batch larger.

    Args:
        nodes: the nodes of the run, however it was started; ``NUM_SHARDS`` is only one way to state them.
    """
    return float(nodes) if cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS else 1.0


def check_warmup(cfg: CfgNode) -> None:
    """Warns where the cosine has ended before the warm-up, which then leads to another rate than meant."""
    solver = cfg.SOLVER
    if solver.LR_POLICY == "cosine" and solver.WARMUP_EPOCHS >= solver.MAX_EPOCH:
        logger.warning(
            "SOLVER.WARMUP_EPOCHS = %g: the cosine ends at SOLVER.MAX_EPOCH = %d, so that the learning rate "
            "never reaches SOLVER.BASE_LR; use fewer warm-up epochs, or 0",
            solver.WARMUP_EPOCHS,
            solver.MAX_EPOCH,
        )


def build_lr_policy(cfg: CfgNode, scale: float = 1.0) -> LRPolicy:
    """Returns the function from fractional epoch to learning rate that ``cfg.SOLVER`` describes.

    Args:
        scale: factor of all learning rates, see :func:`lr_scale`.

    Raises:
        ConfigError: where ``SOLVER.LR_POLICY`` is not registered, or has not returned a function.
    """
    import_user_modules(cfg.IMPORTS)
    scaled = cfg.clone()
    scaled.defrost()
    for key in ("BASE_LR", "COSINE_END_LR", "WARMUP_START_LR"):
        scaled.SOLVER[key] *= scale
    scaled.freeze()
    policy = LR_POLICY_REGISTRY.get(scaled.SOLVER.LR_POLICY)(scaled)
    if not callable(policy):
        raise ConfigError(
            f"SOLVER.LR_POLICY = {cfg.SOLVER.LR_POLICY!r}: must return a function from epoch to learning "
            f"rate, and has returned {policy!r}"
        )
    policy = functools.partial(usable_lr, policy=policy, name=cfg.SOLVER.LR_POLICY)
    if scaled.SOLVER.WARMUP_EPOCHS <= 0:
        return policy
    return functools.partial(
        with_warmup,
        policy=policy,
        warmup_epochs=scaled.SOLVER.WARMUP_EPOCHS,
        start_lr=scaled.SOLVER.WARMUP_START_LR,
    )
