"""The model of a run: the same initial weights on all ranks, and its size in the log."""

from __future__ import annotations

from fvcore.common.config import CfgNode
from torch import nn

from slowfast.distributed.world import World
from slowfast.engine.seeding import seed_generators
from slowfast.log import get_logger
from slowfast.models.build import build_model
from slowfast.models.complexity import count_gmacs, describe_parameters

logger = get_logger(__name__)


def build_seeded_model(cfg: CfgNode, world: World, *, fetch_weights: bool) -> nn.Module:
    """Builds the model of a run on this process's device, with the same initial weights on every rank.

    Args:
        fetch_weights: see :func:`slowfast.models.build.build_model`.
    """
    seed_generators(cfg.RNG_SEED)
    return build_model(cfg, fetch_weights=fetch_weights).to(world.device)


def log_model_info(model: nn.Module, clip: tuple[int, ...]) -> None:
    """Logs the number of parameters, and the multiply-adds for a clip of shape (3, T, H, W) or (T, F)."""
    logger.info("model: %s", describe_parameters(model))
    shown = " × ".join(map(str, clip))
    logger.info("model: %.4g GMACs for a clip of %s", count_gmacs(model, clip), shown)
