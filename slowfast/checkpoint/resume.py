"""Resuming: finding the newest good checkpoint, the identity of a run, what may differ, and restoring.

All lists of configuration keys that decide whether a run may continue are in this file; a project adds its own
by ``Project.adjustable``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import yaml
from torch import nn
from torch.optim import Optimizer

from slowfast.checkpoint.optimizer_state import restore_average, restore_optimizer
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import (
    checkpoint_folder,
    good_checkpoints,
    list_checkpoints,
    read_training_state,
)
from slowfast.checkpoint.weights import load_model_weights, load_weights
from slowfast.distributed.world import World
from slowfast.errors import CheckpointError
from slowfast.files import delete_unfinished
from slowfast.log import get_logger
from slowfast.registry import projects
from slowfast.solver.ema import WeightAverage

logger = get_logger(__name__)

# Keys that decide where a run writes and how long it runs, not what it computes.
_HARMLESS = (
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

# Keys that may differ between the nodes of one run.
NODE_KEYS = (
    "OUTPUT_DIR",
    "SHARD_ID",
    "DATA_LOADER.",
    "LOG_",
    "TENSORBOARD.",
    "DIST_START_TIMEOUT",
    "DIST_TIMEOUT",
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
class RunIdentity:
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


class Restorable(Protocol):
    """The parts of a training run that a checkpoint restores.

    Attributes:
        average: the moving average of the weights; None where there is none.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None


def find_start(output_dir: str, *, auto_resume: bool, world: World) -> Path | None:
    """Returns the checkpoint to go on from, the same on all ranks; None for a fresh start.

    Without ``auto_resume`` an earlier run's checkpoints are moved out of the way.
    """
    found: Path | None = None
    if world.is_main:
        folder = checkpoint_folder(output_dir)
        if folder.is_dir():
            delete_unfinished(folder)
        if auto_resume:
            found = next(good_checkpoints(output_dir), None)
            if found is None and list_checkpoints(output_dir):
                raise CheckpointError(
                    f"every checkpoint in {folder} is damaged; move them away to start afresh"
                )
        elif list_checkpoints(output_dir):
            _set_aside(folder)
    return world.share_objects(found)[0]


def read_own_state(path: Path) -> TrainingState:
    """Reads a run's own checkpoint.

    Raises:
        CheckpointError: where it holds weights alone.
    """
    state = read_training_state(path)
    if state is None:
        raise CheckpointError(f"{path} holds weights alone; move it away to start afresh")
    return state


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


def check_resumable(
    state: TrainingState, identity: RunIdentity, *, source: Path, forced: bool
) -> TrainingProgress:
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
        return TrainingProgress(state.position.epoch, 0)
    return state.position


def config_differences(before: str, now: str, harmless: tuple[str, ...] = _HARMLESS) -> list[str]:
    """Returns ``KEY: old → new`` for each key in which two configurations (YAML) compute something else.

    Keys that begin with one of ``harmless`` do not count, nor do those that only one of them has.
    """
    old, new = _flatten(yaml.safe_load(before or "{}")), _flatten(yaml.safe_load(now or "{}"))
    return [
        f"{key}: {old[key]!r} → {new[key]!r}"
        for key in old
        if key in new and old[key] != new[key] and not key.startswith(harmless)
    ]


def restore(run: Restorable, state: TrainingState, *, source: Path, forced: bool = False) -> None:
    """Puts weights, optimiser, scaler and averaged weights back to ``state``, into any number of processes.

    Args:
        forced: what the state of the optimiser has no use or no values for begins afresh.

    Raises:
        CheckpointError: when they belong to another model or, unless ``forced``, to another optimiser.
    """
    try:
        load_weights(run.model, state.model_state, source=str(source))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}\nthe checkpoint is of another model; put the configuration back, or take another "
            "OUTPUT_DIR"
        ) from error
    restore_optimizer(run.optimizer, state.optimizer_state, source=source, forced=forced)
    if state.scaler_state and run.scaler.is_enabled():
        run.scaler.load_state_dict(state.scaler_state)
    if run.average is not None:
        restore_average(run.average, state.average_state, source=source)


def start_from_file(
    run: Restorable, path: str, *, epoch_reset: bool, reset_head: bool
) -> TrainingState | None:
    """Begins a run at the file ``path``: with its whole state, or after ``epoch_reset`` its weights alone."""
    state = None if epoch_reset or reset_head else read_training_state(path)
    if state is None:
        load_model_weights(run.model, path, reset_head=reset_head)
        if run.average is not None:
            run.average.reset()
        logger.info("weights from %s", path)
        return None
    restore(run, state, source=Path(path))
    logger.info("continuing from %s, %s", path, state.position)
    return state


def fingerprint(dataset: Any) -> str:
    """Returns a digest of a data set's paths, labels and segments in their order."""
    digest = hashlib.sha256(np.ascontiguousarray(dataset.labels).tobytes() + dataset.paths.digest())
    if dataset.segments is not None:
        digest.update(np.ascontiguousarray(dataset.segments).tobytes())
    return digest.hexdigest()


def _set_aside(folder: Path) -> None:
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(target)
    logger.info("TRAIN.AUTO_RESUME is False: the checkpoints of an earlier run are now in %s", target)


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
