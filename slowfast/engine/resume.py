"""Going on with a run: which checkpoint, and whether it belongs to this run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slowfast.distributed import World
from slowfast.engine.checkpoint import (
    TrainingState,
    checkpoint_folder,
    good_checkpoints,
    list_checkpoints,
    load_model_weights,
    load_weights,
    read_training_state,
)
from slowfast.engine.step import TrainStep
from slowfast.errors import CheckpointError
from slowfast.files import delete_unfinished
from slowfast.log import get_logger

logger = get_logger(__name__)

# Keys that say where and how long a run goes, not what it computes.
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
)

# Keys under which a saved optimiser, or a place in the order of samples, means something else.
_DECISIVE = ("SOLVER.OPTIMIZING_METHOD:", "RNG_SEED:")


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


def restore(step: TrainStep, state: TrainingState, *, source: Path) -> None:
    """Puts weights, optimiser and scaler back to ``state``.

    Raises:
        CheckpointError: when they belong to another model or other parameter groups.
    """
    load_weights(step.model, state.model_state, source=str(source))
    try:
        step.optimizer.load_state_dict(state.optimizer_state)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{source}: its optimiser state does not fit ({error}); to start anew from its weights set "
            "TRAIN.CHECKPOINT_FILE_PATH to it, TRAIN.CHECKPOINT_EPOCH_RESET True and another OUTPUT_DIR"
        ) from error
    if state.scaler_state and step.scaler.is_enabled():
        step.scaler.load_state_dict(state.scaler_state)


def start_from_file(
    step: TrainStep, path: str, *, epoch_reset: bool, reset_head: bool
) -> TrainingState | None:
    """Begins a run at the file ``path``: with its whole state, or after ``epoch_reset`` its weights alone."""
    state = None if epoch_reset or reset_head else read_training_state(path)
    if state is None:
        load_model_weights(step.model, path, reset_head=reset_head)
        logger.info("weights from %s", path)
        return None
    restore(step, state, source=Path(path))
    logger.info("continuing from %s, %s", path, state.position)
    return state


def check_same_run(
    state: TrainingState, *, source: Path, config: str, global_batch: int, fingerprint: str
) -> None:
    """Refuses a state whose place in the data would mean other samples here; lists other differences.

    Raises:
        CheckpointError: when the training list changed, another optimiser or seed was chosen, or the
            global batch changed in the middle of an epoch.
    """
    if state.data_fingerprint and state.data_fingerprint != fingerprint:
        raise CheckpointError(
            f"{source} was made with another list of training videos than now; put that list back, or take "
            "another OUTPUT_DIR and TRAIN.CHECKPOINT_FILE_PATH for its weights"
        )
    if state.position.step and state.global_batch != global_batch:
        raise CheckpointError(
            f"{source} is in the middle of an epoch of {state.global_batch} clips a step, this run takes "
            f"{global_batch}; keep the global batch (TRAIN.BATCH_SIZE × NUM_SHARDS), or begin at an epoch end"
        )
    differences = config_differences(state.config, config)
    if refused := [difference for difference in differences if difference.startswith(_DECISIVE)]:
        raise CheckpointError(
            f"{source} cannot be continued with {'; '.join(refused)}; put that back, or take another "
            "OUTPUT_DIR and TRAIN.CHECKPOINT_FILE_PATH with TRAIN.CHECKPOINT_EPOCH_RESET True for its weights"
        )
    for difference in differences:
        logger.warning("differs from the checkpoint's run: %s", difference)


def config_differences(before: str, now: str, harmless: tuple[str, ...] = _HARMLESS) -> list[str]:
    """Returns ``KEY: old → new`` for each key in which two configurations (YAML) compute something else.

    Keys that begin with one of ``harmless`` do not count.
    """
    old, new = _flatten(yaml.safe_load(before or "{}")), _flatten(yaml.safe_load(now or "{}"))
    return [
        f"{key}: {old[key]!r} → {new[key]!r}"
        for key in old
        if key in new and old[key] != new[key] and not key.startswith(harmless)
    ]


def fingerprint(dataset: Any) -> str:
    """Returns a digest of a data set's paths and labels in their order."""
    labels = np.ascontiguousarray(dataset.labels).tobytes()
    return hashlib.sha256(labels + dataset.paths.digest()).hexdigest()


def _set_aside(folder: Path) -> None:
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(target)
    logger.info("TRAIN.AUTO_RESUME is False: the checkpoints of an earlier run are now in %s", target)


def _flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
