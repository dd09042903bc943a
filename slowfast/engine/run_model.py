"""The model of a run: initial weights that are the same on all ranks, those of a test, and its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from slowfast.checkpoint.best import best_of
from slowfast.checkpoint.storage import last_checkpoint, list_checkpoints
from slowfast.checkpoint.weights import load_model_weights
from slowfast.distributed.world import World
from slowfast.engine.seeding import seed_generators
from slowfast.errors import CheckpointError
from slowfast.log import get_logger
from slowfast.models.build import build_model
from slowfast.models.complexity import count_gmacs, describe_parameters
from slowfast.models.frame_format import adopt_frame_format
from slowfast.solver.ema import evaluates_average

logger = get_logger(__name__)


def build_seeded_model(cfg: CfgNode, world: World, *, fetch_weights: bool) -> nn.Module:
    """Builds the model of a run on this process's device, with the same initial weights on every rank."""
    seed_generators(cfg.RNG_SEED)
    return build_model(cfg, fetch_weights=fetch_weights).to(world.device)


@dataclass(frozen=True)
class TestedModel:
    """A model with the weights to be tested.

    Attributes:
        cfg: the configuration, with the format of frames that the model needs.
        class_names: stored with the weights; may be empty.
    """

    cfg: CfgNode
    model: nn.Module
    class_names: Sequence[str]


def build_tested_model(cfg: CfgNode, world: World, weights: Path | str) -> TestedModel:
    """Builds the model of a test or demonstration and loads its weights.

    Raises:
        CheckpointError: if they do not fit the model.
    """
    model = build_seeded_model(cfg, world, fetch_weights=False)
    names = load_model_weights(model, weights, averaged=evaluates_average(cfg))
    return TestedModel(adopt_frame_format(cfg, model), model, names)


def find_tested_weights(cfg: CfgNode, trained: Path | None) -> Path | str:
    """Returns the configured file, that just trained, the newest in OUTPUT_DIR, or the start of training.

    With ``TEST.WEIGHTS`` ``best`` the best validated one takes the place of that just trained.
    """
    if cfg.TEST.WEIGHTS == "best" and not cfg.TEST.CHECKPOINT_FILE_PATH:
        if (best := best_of(list_checkpoints(cfg.OUTPUT_DIR), cfg.TRAIN.BEST_METRIC)) is None:
            raise CheckpointError(
                f"TEST.WEIGHTS = 'best': {cfg.OUTPUT_DIR}/checkpoints has no validated checkpoint; train "
                "first, or set TEST.WEIGHTS last"
            )
        return best
    found = cfg.TEST.CHECKPOINT_FILE_PATH or trained or last_checkpoint(cfg.OUTPUT_DIR)
    found = found or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not found:
        raise CheckpointError(
            f"no weights to test: {cfg.OUTPUT_DIR}/checkpoints has no intact checkpoint; train first, "
            "or set TEST.CHECKPOINT_FILE_PATH"
        )
    return found


def log_model_info(model: nn.Module, clip: tuple[int, ...]) -> None:
    """Logs the number of parameters, and the multiply-adds for a clip of shape (3, T, H, W) or (T, F)."""
    logger.info("model: %s", describe_parameters(model))
    shown = " × ".join(map(str, clip))
    logger.info("model: %.4g GMACs for a clip of %s", count_gmacs(model, clip), shown)
