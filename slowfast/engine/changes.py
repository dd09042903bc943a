"""What differs between a checkpoint's run and the one that is to continue it, and what follows from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slowfast.distributed import World
from slowfast.engine.checkpoint import Position, TrainingState
from slowfast.errors import CheckpointError
from slowfast.log import get_logger
from slowfast.registry import projects

logger = get_logger(__name__)

# Keys that say where and how long a run goes, not what it computes.
HARMLESS = (
    "OUTPUT_DIR",
    "LOG_",
    "TENSORBOARD.",
    "TEST.",
    "SHARD_ID",
    "DIST_START_TIMEOUT",
    "DIST_TIMEOUT",
    "DATA_LOADER.",
    "TRAIN.MAX_STEPS",
    "TRAIN.AUTO_RESUME",
    "TRAIN.FORCE_RESUME",
)

# Keys that people change on purpose in the middle of a run: they steer it, or say how it is computed.
_ADJUSTABLE = (
    "TRAIN.",
    "SOLVER.",
    "AUG.",
    "MIXUP.",
    "BN.",
    "MODEL_EMA.",
    "PARALLEL.",
    "NUM_GPUS",
    "NUM_SHARDS",
    "DIST_BACKEND",
    "DETERMINISTIC",
    "MODEL.DROPOUT_RATE",
    "MODEL.HEAD_ACT",
    "DATA.PATH_",  # the list of videos itself is compared
    "DATA.TEST_CROP_SIZE",
    "DATA.ENSEMBLE_METHOD",
    "DATA.DECODING_BACKEND",
    "DATA.MAX_BROKEN_FRACTION",
)

# Keys among those under which the saved optimiser, or a place in the order of samples, means something else.
_DECISIVE = ("SOLVER.OPTIMIZING_METHOD:", "TRAIN.DATASET:", "AUG.NUM_SAMPLE:")

# Keys that change the order of samples.
_ORDER = ("RNG_SEED:", "TRAIN.DATASET:", "AUG.NUM_SAMPLE:")


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must agree with to be continued.

    Attributes:
        config: the configuration as YAML.
        seed: ``RNG_SEED``.
        global_batch: clips a step over all processes.
        data_fingerprint: of the training samples in their order.
        lr_scale: by what the configuration's learning rates are multiplied.
    """

    config: str
    seed: int
    global_batch: int
    data_fingerprint: str
    lr_scale: float = 1.0


def choose_global_batch(cfg: Any, world: World, begun: TrainingState | None) -> int:
    """Returns the clips of a step over all processes: those of the run's first start, whatever the world now.

    Args:
        begun: the state that the run goes on from; None at its first start.

    Raises:
        CheckpointError: when that batch cannot be shared by these processes, or another one is asked for.
    """
    asked_for = cfg.TRAIN.BATCH_SIZE // world.local_size * world.size
    if begun is None or begun.global_batch in (0, asked_for):
        return asked_for
    before = yaml.safe_load(begun.config or "{}").get("TRAIN", {}).get("BATCH_SIZE")
    if before != cfg.TRAIN.BATCH_SIZE:
        if cfg.TRAIN.FORCE_RESUME:
            return asked_for
        raise CheckpointError(
            f"TRAIN.BATCH_SIZE = {cfg.TRAIN.BATCH_SIZE}: this run began with {before}, {begun.global_batch} "
            f"clips a step over all processes, and would now take {asked_for}; put it back, or continue all "
            "the same with TRAIN.FORCE_RESUME True"
        )
    if begun.global_batch % world.size:
        fitting = [str(n) for n in range(1, begun.global_batch + 1) if begun.global_batch % n == 0]
        raise CheckpointError(
            f"{world.size} processes cannot evenly share the {begun.global_batch} clips a step that this run "
            f"began with; start {', '.join(fitting[:-1])}{' or ' if fitting[1:] else ''}{fitting[-1]}"
        )
    logger.info(
        "a step stays at %d clips, as at the first start; TRAIN.BATCH_SIZE would now make it %d",
        begun.global_batch,
        asked_for,
    )
    return begun.global_batch


def check_same_run(state: TrainingState, identity: Identity, *, source: Path, forced: bool) -> Position:
    """Returns where the run goes on from ``state``; lists what differs.

    Args:
        forced: go on although it is another run now.

    Raises:
        CheckpointError: unless ``forced``, when the training list changed, or a key under which the saved
            state means something else.
    """
    differences = config_differences(state.config, identity.config)
    refused = [text for text in differences if _is_decisive(text)]
    other_list = state.data_fingerprint not in ("", identity.data_fingerprint)
    if other_list and not forced:
        raise CheckpointError(
            f"{source} was made with another list of training videos than now (paths or labels differ); put "
            "that list back, or take another OUTPUT_DIR and TRAIN.CHECKPOINT_FILE_PATH for its weights; "
            "where you know that the change does no harm, set TRAIN.FORCE_RESUME True"
        )
    if refused and not forced:
        raise CheckpointError(
            f"{source} cannot be continued with {'; '.join(refused)}; put that back, or take another "
            "OUTPUT_DIR and TRAIN.CHECKPOINT_FILE_PATH with TRAIN.CHECKPOINT_EPOCH_RESET True for its "
            "weights; to continue all the same set TRAIN.FORCE_RESUME True"
        )
    for difference in differences:
        logger.warning("differs from the checkpoint's run: %s", difference)
    if other_list:
        logger.warning("differs from the checkpoint's run: the list of training videos")
    batch_differs = state.global_batch not in (0, identity.global_batch)
    order_differs = other_list or any(text.startswith(_ORDER) for text in differences)
    if state.position.step and (batch_differs or order_differs):
        logger.warning(
            "%s means nothing in this run: epoch %d begins anew", state.position, state.position.epoch + 1
        )
        return Position(state.position.epoch, 0)
    return state.position


def config_differences(before: str, now: str, harmless: tuple[str, ...] = HARMLESS) -> list[str]:
    """Returns ``KEY: old → new`` for each key in which two configurations (YAML) compute something else.

    Keys that begin with one of ``harmless`` do not count, nor do those that only one of them has.
    """
    old, new = _flatten(yaml.safe_load(before or "{}")), _flatten(yaml.safe_load(now or "{}"))
    return [
        f"{key}: {old[key]!r} → {new[key]!r}"
        for key in old
        if key in new and old[key] != new[key] and not key.startswith(harmless)
    ]


def _is_decisive(difference: str) -> bool:
    adjustable = (*_ADJUSTABLE, *(key for project in projects() for key in project.adjustable))
    return difference.startswith(_DECISIVE) or not difference.startswith(adjustable)


def _flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
