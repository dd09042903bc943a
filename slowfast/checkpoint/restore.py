"""Restoring the parts of a run from a saved state: weights, optimiser, scaler and averaged weights.

Parameters are matched by their names, so that groups, order and number of processes may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from slowfast.checkpoint.state import TrainingState
from slowfast.checkpoint.weights import load_weights
from slowfast.distributed.dtensor import shard_like
from slowfast.errors import CheckpointError
from slowfast.log import get_logger
from slowfast.solver.ema import WeightAverage

logger = get_logger(__name__)


class Restorable(Protocol):
    """The parts of a training run that a checkpoint restores.

    Attributes:
        average: the moving average of the weights; None without one.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None


def restore(
    run: Restorable, state: TrainingState, *, source: Path, forced: bool = False, reset_option: str = ""
) -> None:
    """Restores weights, optimiser, scaler and averaged weights, in any number of processes.

    Args:
        source: the checkpoint, for messages.
        forced: restart the optimiser states that do not fit.
        reset_option: the option with which a new run keeps the initial weights of the last layer, for
            messages; empty: a run is resumed, which cannot.

    Raises:
        CheckpointError: if they are of another model or, unless ``forced``, of another optimiser.
    """
    try:
        adapted = load_weights(run.model, state.model_state, source=str(source), reset_option=reset_option)
    except CheckpointError as error:
        if reset_option:
            raise
        raise CheckpointError(
            f"{error}\nthe checkpoint is of another model; restore the configuration, or the code of the "
            "model, or use another OUTPUT_DIR"
        ) from error
    restore_optimizer(run.optimizer, state.optimizer_state, source=source, forced=forced, adapted=adapted)
    if state.scaler_state and run.scaler.is_enabled():
        run.scaler.load_state_dict(state.scaler_state)
    if run.average is not None:
        restore_average(run.average, state.average_state, source=source)


def restore_optimizer(
    optimizer: Optimizer, saved: Mapping[str, Any], *, source: Path, forced: bool, adapted: Sequence[str] = ()
) -> None:
    """Loads the state of each parameter by its name; learning rates and decays stay as configured.

    Args:
        saved: the optimiser's state dict in the checkpoint ``source``.
        forced: load the states that fit and leave the others initial, with a warning.
        adapted: names of the parameters that had another shape in the checkpoint.

    Raises:
        CheckpointError: unless ``forced``, if parameters or kind of optimiser differ.
    """
    parameters = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
    }
    # The file numbers its parameters over all groups and has the state of each under its number.
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    saved_names = [name for group in saved["param_groups"] for name in group.get("param_names", ())]
    # Files of PySlowFast have no names: their parameters are in the order of the model's.
    names = saved_names or [*parameters]
    states = dict(zip(names, (saved["state"].get(number, {}) for number in numbers), strict=False))
    # Without names only the shapes of states show another order; in general a state may have any shape.
    misshapen = set(adapted) if saved_names else _misshapen(states, parameters)
    unusable = ""
    if len(names) != len(numbers):
        unusable = f"it has {len(numbers)} parameters, this run has {len(names)}"
    elif any(states.values()) and not _is_same_kind(saved["param_groups"], optimizer):
        unusable = f"it is not a state of {type(optimizer).__name__}"
    if problem := unusable or _find_problem(states, parameters, misshapen):
        if not forced:
            raise CheckpointError(
                f"{source}: its optimiser state does not fit ({problem}); to restart from its weights set "
                "TRAIN.CHECKPOINT_FILE_PATH to it, TRAIN.CHECKPOINT_EPOCH_RESET True and another OUTPUT_DIR; "
                "to resume with the states that fit set TRAIN.FORCE_RESUME True"
            )
        logger.warning("%s: only the fitting part of its optimiser state is loaded (%s)", source, problem)
        if unusable:
            return
    # The groups and numbers of this run, with the saved states of the parameters that have one.
    own = optimizer.state_dict()
    loaded = {
        number: _shard_state(states[name], parameters[name])
        for group in own["param_groups"]
        for number, name in zip(group["params"], group["param_names"], strict=True)
        if states.get(name) and name not in misshapen
    }
    optimizer.load_state_dict({"state": loaded, "param_groups": own["param_groups"]})


def _find_problem(
    states: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, Tensor], misshapen: Collection[str]
) -> str:
    """Returns the reason why the states of some parameters do not fit; empty if all do."""
    if different := sorted(states.keys() ^ parameters.keys()):
        return f"only one of the two trains {', '.join(different[:5])}"
    if differing := [name for name in parameters if name in misshapen]:
        return f"the shapes of {', '.join(differing[:5])} differ"
    return ""


def _is_same_kind(groups: Sequence[Mapping[str, Any]], optimizer: Optimizer) -> bool:
    """Returns whether the saved groups have the hyperparameters of this optimiser, switches excepted.

    Versions of torch differ in switches such as ``fused``, and Adam differs from AdamW in one. ``amsgrad`` is
    the only one by which a file tells Adam from Adamax, whose states differ.
    """
    own = {name for name, value in optimizer.defaults.items() if not isinstance(value, bool | None)}
    has_amsgrad = "amsgrad" in optimizer.defaults
    return all(own <= group.keys() and ("amsgrad" in group) == has_amsgrad for group in groups)


def _misshapen(states: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, Tensor]) -> set[str]:
    """Returns the names of the parameters with a tensor of another shape in their state, scalars excepted."""
    return {
        name
        for name, parameter in parameters.items()
        for value in states.get(name, {}).values()
        if isinstance(value, Tensor) and value.ndim > 0 and value.shape != parameter.shape
    }


def _shard_state(state: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """Shards the entries of a parameter's shape as the parameter itself is sharded."""
    return {
        name: shard_like(value, parameter)
        if isinstance(value, Tensor) and value.shape == parameter.shape
        else value
        for name, value in state.items()
    }


def restore_average(average: WeightAverage, saved: Mapping[str, Any], *, source: Path) -> None:
    """Restores the averaged weights; if the file has none, the average starts with the current weights.

    Args:
        saved: the average's state dict in a checkpoint; may be empty.
        source: the checkpoint, for messages.

    Raises:
        CheckpointError: if the average is of other weights.
    """
    average.reset()
    if not saved:
        logger.warning("%s has no averaged weights: the average starts with its ordinary weights", source)
        return
    own, weights = average.state_dict()["weights"], saved["weights"]
    problem = "are only in one of the two, the file and this run"
    if not (differing := sorted(own.keys() ^ weights.keys())):
        problem = "have other shapes than those of this run"
        differing = [name for name in sorted(own) if weights[name].shape != own[name].shape]
    if differing:
        raise CheckpointError(
            f"{source}: its averaged weights of {', '.join(differing[:5])} {problem}; restore the "
            "configuration of the run, or set MODEL_EMA.ENABLE False"
        )
    sharded = {name: shard_like(weight, own[name]) for name, weight in weights.items()}
    average.load_state_dict({**saved, "weights": sharded})
