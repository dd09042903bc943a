"""Restoring the state of an optimiser and of averaged weights, by the names of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from slowfast.distributed.dtensor import shard_like
from slowfast.errors import CheckpointError
from slowfast.log import get_logger
from slowfast.solver.ema import WeightAverage

logger = get_logger(__name__)


def restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any], *, source: Path, forced: bool) -> None:
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
        name: shard_like(value, parameter)
        if isinstance(value, Tensor) and value.shape == parameter.shape
        else value
        for name, value in state.items()
    }


def restore_average(average: WeightAverage, saved: Mapping[str, Any], *, source: Path) -> None:
    """Goes on with the averaged weights; they begin with the weights where the file has none."""
    average.reset()
    if not saved:
        logger.warning("%s has no averaged weights: the average begins with its ordinary ones", source)
        return
    own = average.state_dict()["weights"]
    weights = {name: shard_like(w, own[name]) if name in own else w for name, w in saved["weights"].items()}
    try:
        average.load_state_dict({**saved, "weights": weights})
    except KeyError as error:
        raise CheckpointError(
            f"{source}: only one of its averaged weights and this run's have {error}; put the configuration "
            "back, or set MODEL_EMA.ENABLE False"
        ) from error
