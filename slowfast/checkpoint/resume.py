"""Resuming a run: finding its newest intact checkpoint, checking that it is the same run, and restoring it.

All lists of configuration keys that decide whether a run can be resumed are in this file; a project adds its
own by ``Project.adjustable``. The order of a start is :func:`find_own_checkpoint`,
:func:`choose_global_batch` while the run is built, then :func:`resume`, or :func:`start_from_file` for a run
without a checkpoint of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode

from slowfast.checkpoint.restore import Restorable, restore
from slowfast.checkpoint.state import TrainingProgress, TrainingState, settings_of
from slowfast.checkpoint.storage import (
    checkpoint_folder,
    last_checkpoint,
    list_checkpoints,
    read_training_state,
    set_aside,
)
from slowfast.checkpoint.weights import load_weights
from slowfast.config.values import differing_values
from slowfast.distributed.world import World
from slowfast.errors import CheckpointError, counted, one_of
from slowfast.files import delete_unfinished
from slowfast.log import get_logger
from slowfast.registry import projects

logger = get_logger(__name__)

# The option with which a new run keeps the initial weights of the last layer, for messages.
RESET_OPTION = "TRAIN.CHECKPOINT_RESET_HEAD True"

NODE_KEYS = (
    "OUTPUT_DIR",
    "SHARD_ID",
    "DATA_LOADER.NUM_WORKERS",
    "DATA_LOADER.PIN_MEMORY",
    "DATA_LOADER.SAMPLE_TIMEOUT",
    "LOG_",
    "TENSORBOARD.",
    "DEMO.",
    "TRACKER",
    "DIST_START_TIMEOUT",
    "DIST_TIMEOUT",
)
"""Beginnings of the keys that may differ between the nodes of one run."""

# Keys that decide where a run writes and how long it runs, not what it computes.
_HARMLESS = (*NODE_KEYS, "TEST.", "TRAIN.MAX_STEPS", "TRAIN.AUTO_RESUME", "TRAIN.FORCE_RESUME")

# Keys that users change on purpose in the middle of a run: they control training, or how it is computed.
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
    "MATMUL_PRECISION",
    "IMPORTS",
    "INFERENCE.",
    "MODEL.DROPOUT_RATE",
    "MODEL.HEAD_ACT",
    "DATA.PATH_",  # the list of videos itself is compared
    "DATA.CLASS_NAMES",
    "DATA.TEST_",
    "DATA.ENSEMBLE_METHOD",
    "DATA.DECODING_BACKEND",
    "DATA.MAX_BROKEN_FRACTION",
)

# Exceptions to these: with another value, the saved optimiser state or the progress in an epoch is not valid.
_DECISIVE = ("SOLVER.OPTIMIZING_METHOD", "TRAIN.DATASET", "AUG.NUM_SAMPLE")

# Keys of folders that may be moved, but neither be set to the empty string nor from it.
_MOVABLE = ("DATA.FEATURES",)

# Keys that change the order of samples.
_ORDER = {
    "RNG_SEED",
    "TRAIN.DATASET",
    "AUG.NUM_SAMPLE",
    "DATA_LOADER.TRAIN_SAMPLER",
    "DATA.SHUFFLE_SHARDS",
}


@dataclass(frozen=True)
class RunIdentity:
    """The properties of a run that its checkpoint must agree with; see the same ones of ``TrainingState``.

    ``former_fingerprint`` is the hash of training samples as version 0.1.0 saved it; empty unless the
    checkpoint has one.
    """

    config: str
    seed: int
    global_batch: int
    data_fingerprint: str
    lr_scale: float = 1.0
    former_fingerprint: str = ""


class OwnCheckpoint(NamedTuple):
    """A checkpoint that an earlier start of the same run wrote."""

    path: Path
    state: TrainingState


def find_own_checkpoint(output_dir: str, *, auto_resume: bool, world: World) -> OwnCheckpoint | None:
    """Returns the newest intact checkpoint of a run, the same on all ranks; None for a first start.

    Without ``auto_resume`` the checkpoints of an earlier run are moved to another folder.

    Raises:
        CheckpointError: if all checkpoints are damaged, or the newest one contains only weights.
        OSError: on rank 0, if no checkpoint could be written.
    """
    path: Path | None = None
    if world.is_main:
        folder = checkpoint_folder(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()  # fails here where the first checkpoint would, after an epoch
        delete_unfinished(folder)
        if auto_resume:
            path = last_checkpoint(output_dir)
            if path is None and list_checkpoints(output_dir):
                raise CheckpointError(f"every checkpoint in {folder} is damaged; move them away to restart")
        elif list_checkpoints(output_dir):
            moved = set_aside(folder)
            logger.info("TRAIN.AUTO_RESUME is False: moved the checkpoints of an earlier run to %s", moved)
    path = world.all_gather_objects(path)[0]
    if path is None:
        return None
    state = read_training_state(path)
    if state.has_only_weights:
        raise CheckpointError(f"{path} contains only weights; move it away to restart")
    return OwnCheckpoint(path, state)


def choose_global_batch(cfg: CfgNode, world: World, saved: TrainingState | None) -> int:
    """Returns the clips per step over all processes: as at the first start of the run, in every later world.

    Args:
        saved: the state from which the run is resumed; None at its first start.

    Raises:
        CheckpointError: if the processes cannot share that batch evenly, or ``TRAIN.BATCH_SIZE`` was changed.
    """
    configured = cfg.TRAIN.BATCH_SIZE // world.local_size * world.size
    if saved is None or saved.global_batch in (0, configured):
        return configured
    before = saved.settings.get("TRAIN.BATCH_SIZE")
    if before != cfg.TRAIN.BATCH_SIZE:
        if cfg.TRAIN.FORCE_RESUME:
            return configured
        raise CheckpointError(
            f"TRAIN.BATCH_SIZE = {cfg.TRAIN.BATCH_SIZE}: this run was started with {before}, which made "
            f"{saved.global_batch} clips per step over all processes, and would now have {configured}; "
            "restore the value, or resume nevertheless with TRAIN.FORCE_RESUME True"
        )
    if saved.global_batch % world.size:
        fitting = [n for n in range(1, saved.global_batch + 1) if saved.global_batch % n == 0]
        raise CheckpointError(
            f"{world.size} processes cannot evenly share the {counted(saved.global_batch, 'clip')} per step "
            f"with which this run was started; start {one_of(fitting)}"
        )
    logger.info(
        "%d clips per step, as at the first start; TRAIN.BATCH_SIZE would now result in %d",
        saved.global_batch,
        configured,
    )
    return saved.global_batch


def check_resumable(
    state: TrainingState, identity: RunIdentity, *, source: Path, forced: bool
) -> TrainingProgress:
    """Returns the progress from which the run continues; logs the differences to the checkpoint's run.

    Args:
        source: the checkpoint, for messages.
        forced: continue even if it is another run now.

    Raises:
        CheckpointError: unless ``forced``, if the training list changed, or a key that makes another run.
    """
    changes = {
        key: values
        for key, values in differing_values(state.settings, settings_of(identity.config)).items()
        if not key.startswith(_HARMLESS)
    }
    described = {key: f"{key}: {old!r} → {new!r}" for key, (old, new) in changes.items()}
    refused = [described[key] for key, values in changes.items() if _makes_other_run(key, values)]
    if refused and not forced:
        option = "TRAIN.CHECKPOINT_EPOCH_RESET True"
        force = "; to resume nevertheless set TRAIN.FORCE_RESUME True"
        if "MODEL.NUM_CLASSES" in changes:  # its last layer does not fit
            option, force = RESET_OPTION, ""
        raise CheckpointError(
            f"{source} cannot be resumed with {'; '.join(refused)}; restore the former value, or use another "
            f"OUTPUT_DIR and TRAIN.CHECKPOINT_FILE_PATH with {option} to start from its weights{force}"
        )
    known_lists = ("", identity.data_fingerprint, identity.former_fingerprint)
    other_list = state.data_fingerprint not in known_lists
    if other_list and not forced:
        raise CheckpointError(
            f"{source} was made with another list of training videos (relative paths or labels differ); "
            "restore that list, or use another OUTPUT_DIR and TRAIN.CHECKPOINT_FILE_PATH to start from its "
            "weights; if the change is harmless, set TRAIN.FORCE_RESUME True"
        )
    for change in described.values():
        logger.warning("changed since the checkpoint: %s", change)
    if other_list:
        logger.warning("changed since the checkpoint: the list of training videos")
    # The steps of the incomplete epoch are lost if its order of samples has changed.
    other_batch = state.global_batch not in (0, identity.global_batch)
    other_order = other_list or not _ORDER.isdisjoint(changes)
    if state.progress.step and (other_batch or other_order):
        logger.warning(
            "%s is not valid in the changed run: epoch %d restarts", state.progress, state.progress.epoch + 1
        )
        return TrainingProgress(state.progress.epoch, 0)
    return state.progress


def resume(
    run: Restorable, checkpoint: OwnCheckpoint, identity: RunIdentity, *, forced: bool
) -> TrainingProgress:
    """Restores a run from its own checkpoint and returns the progress from which it continues.

    Args:
        forced: see :func:`check_resumable` and :func:`restore`.

    Raises:
        CheckpointError: see :func:`check_resumable` and :func:`restore`.
    """
    path, state = checkpoint
    progress = check_resumable(state, identity, source=path, forced=forced)
    restore(run, state, source=path, forced=forced)
    logger.info("resumed from %s, %s", path, progress)
    return progress


def start_from_file(
    run: Restorable, path: str, state: TrainingState, *, reset_head: bool, end: TrainingProgress
) -> TrainingProgress:
    """Starts a new run from a checkpoint file and returns the progress from which it continues.

    The full state is restored, and the run continues at the start of the file's incomplete epoch, since its
    list of videos may be another one. Without a state of the optimiser, only the weights are loaded.

    Args:
        state: in the file ``path``, see :func:`read_training_state`.
        reset_head: keep the initial weights of a last layer with another number of classes.
        end: the end of the new run.

    Raises:
        CheckpointError: see :func:`restore`; if no steps are left until ``end``.
    """
    if state.has_only_weights:
        weights = state.model_state
        load_weights(run.model, weights, source=path, reset_head=reset_head, reset_option=RESET_OPTION)
        if run.average is not None:
            run.average.reset()
        logger.info("loaded weights from %s", path)
        return TrainingProgress()
    restore(run, state, source=Path(path), reset_option=RESET_OPTION)
    progress = TrainingProgress(state.progress.epoch, 0)
    logger.info("started from %s (%s) at the start of epoch %d", path, state.progress, progress.epoch + 1)
    if progress >= end:
        raise CheckpointError(
            f"{path} is at {progress} and this run ends at {end}: nothing is left to train; set "
            "TRAIN.CHECKPOINT_EPOCH_RESET True to start from its weights"
        )
    return progress


def _makes_other_run(key: str, values: tuple[Any, Any]) -> bool:
    """Returns whether a key with these values, before and now, makes it another run."""
    if key in _MOVABLE:
        return "" in values
    adjustable = (*_ADJUSTABLE, *(key for project in projects() for key in project.adjustable))
    return key in _DECISIVE or not key.startswith(adjustable)
