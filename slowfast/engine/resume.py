"""Going on with a run: which checkpoint, and its state back in place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

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
from slowfast.shards import spread_like
from slowfast.solver.ema import WeightAverage

logger = get_logger(__name__)


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


def restore(step: TrainStep, state: TrainingState, *, source: Path, forced: bool = False) -> None:
    """Puts weights, optimiser, scaler and averaged weights back to ``state``, into any number of processes.

    Args:
        forced: what the state of the optimiser has no use or no values for begins afresh.

    Raises:
        CheckpointError: when they belong to another model or, unless ``forced``, to another optimiser.
    """
    try:
        load_weights(step.model, state.model_state, source=str(source))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}\nthe checkpoint is of another model; put the configuration back, or take another "
            "OUTPUT_DIR"
        ) from error
    _restore_optimizer(step.optimizer, state.optimizer_state, source=source, forced=forced)
    if state.scaler_state and step.scaler.is_enabled():
        step.scaler.load_state_dict(state.scaler_state)
    if step.average is not None:
        _restore_average(step.average, state.average_state, source=source)


def start_from_file(
    step: TrainStep, path: str, *, epoch_reset: bool, reset_head: bool
) -> TrainingState | None:
    """Begins a run at the file ``path``: with its whole state, or after ``epoch_reset`` its weights alone."""
    state = None if epoch_reset or reset_head else read_training_state(path)
    if state is None:
        load_model_weights(step.model, path, reset_head=reset_head)
        if step.average is not None:
            step.average.reset()
        logger.info("weights from %s", path)
        return None
    restore(step, state, source=Path(path))
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


def _restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any], *, source: Path, forced: bool) -> None:
    """Takes over each parameter's state by its name; rates and decays stay those of the configuration."""
    parameters = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
    }
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    # PySlowFast's files have no names: there the order counts.
    names = [name for group in saved["param_groups"] for name in group.get("param_names", ())] or [
        *parameters
    ]
    states = dict(zip(names, (saved["state"].get(number, {}) for number in numbers), strict=False))
    problem = ""
    if len(names) != len(numbers):
        problem = f"it has {len(numbers)} parameters, this run's {len(names)}"
    elif different := sorted(states.keys() ^ parameters.keys()):
        problem = f"only one of the two trains {', '.join(different[:5])}"
    elif saved["state"] and not _same_kind(states, optimizer):
        problem = f"it is no state of {type(optimizer).__name__}"
    if problem and not forced:
        raise CheckpointError(
            f"{source}: its optimiser state does not fit ({problem}); to start anew from its weights set "
            "TRAIN.CHECKPOINT_FILE_PATH to it, TRAIN.CHECKPOINT_EPOCH_RESET True and another OUTPUT_DIR; to "
            "continue with what fits set TRAIN.FORCE_RESUME True"
        )
    if problem:
        logger.warning("%s: of its optimiser state only what fits is taken (%s)", source, problem)
        if len(names) != len(numbers) or not _same_kind(states, optimizer):
            return
    own = optimizer.state_dict()
    taken = {
        number: _spread_state(states[name], parameters[name])
        for group in own["param_groups"]
        for number, name in zip(group["params"], group["param_names"], strict=True)
        if states.get(name)
    }
    optimizer.load_state_dict({"state": taken, "param_groups": own["param_groups"]})


def _same_kind(states: Mapping[str, Mapping[str, Any]], optimizer: Optimizer) -> bool:
    """Whether the optimiser keeps entries of such names for a parameter."""
    adaptive = "betas" in optimizer.defaults
    return all(("exp_avg" in state) == adaptive for state in states.values() if state)


def _spread_state(state: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """Entries of a parameter's shape are spread over the ranks as it is."""
    return {
        name: spread_like(value, parameter)
        if isinstance(value, Tensor) and value.shape == parameter.shape
        else value
        for name, value in state.items()
    }


def _restore_average(average: WeightAverage, saved: Mapping[str, Any], *, source: Path) -> None:
    """Goes on with the averaged weights; they begin with the weights where the file has none."""
    average.reset()
    if not saved:
        logger.warning("%s has no averaged weights: the average begins with its ordinary ones", source)
        return
    own = average.state_dict()["weights"]
    weights = {name: spread_like(w, own[name]) if name in own else w for name, w in saved["weights"].items()}
    try:
        average.load_state_dict({**saved, "weights": weights})
    except KeyError as error:
        raise CheckpointError(
            f"{source}: only one of its averaged weights and this run's have {error}; put the configuration "
            "back, or set MODEL_EMA.ENABLE False"
        ) from error
