"""The progress of a training run, and the state from which it is resumed.

A resumed run recognises its list of training videos by a hash, wherever the videos are stored: that of the
labels, of the segments, and of the paths relative to the common folder of all videos. Checkpoints of the
first development versions contain a hash of full paths, which has no prefix ``relative:``; they are compared
with such a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor

from slowfast.config.values import flatten
from slowfast.config.yaml_file import parse_yaml
from slowfast.errors import CheckpointError

if TYPE_CHECKING:
    from slowfast.datasets.video_dataset import ViewDataset

_RELATIVE = "relative:"


@dataclass(frozen=True, order=True)
class TrainingProgress:
    """The progress of a training run.

    Attributes:
        epoch: number of complete epochs.
        step: optimiser steps done in the epoch after these.
    """

    epoch: int = 0
    step: int = 0

    def __str__(self) -> str:
        return (
            f"step {self.step} of epoch {self.epoch + 1}" if self.step else f"the end of epoch {self.epoch}"
        )


def settings_of(config: str) -> dict[str, Any]:
    """Returns the values of a configuration in YAML by their dotted keys."""
    return flatten(parse_yaml(config, "the configuration of the run"))


@dataclass(frozen=True)
class TrainingState:
    """Everything that determines how a run continues.

    The random numbers of a step are a function of (seed, step, rank), and those of a sample a function of
    (seed, epoch, index). The seed and the progress therefore replace the states of all random generators.

    Attributes:
        progress: of the run.
        model_state, optimizer_state, scaler_state: the ``state_dict()`` of each, with full tensors.
        config: the configuration as YAML.
        seed: ``RNG_SEED``.
        global_batch: clips per step over all processes.
        data_fingerprint: hash of the training samples in their order; empty if unknown.
        class_names: in the order of the classes; empty if the run did not know them.
        lr_scale: factor on the learning rates of the configuration.
        average_state: the ``state_dict()`` of the moving average of the weights; empty without an average.
        selection_state: comparison of the validations so far, see
            ``slowfast.engine.training.model_selection``; empty if unknown.
        failure_state: the skipped steps so far, see ``slowfast.engine.training.failure_budget``; empty if
            unknown.
        log_state: the metrics of the epoch so far, see ``slowfast.engine.training.training_log``; empty if
            unknown.
    """

    progress: TrainingProgress
    model_state: dict[str, Tensor]
    optimizer_state: dict[str, Any] = field(default_factory=dict)
    scaler_state: dict[str, Any] = field(default_factory=dict)
    config: str = ""
    seed: int = -1
    global_batch: int = 0
    data_fingerprint: str = ""
    class_names: tuple[str, ...] = ()
    lr_scale: float = 1.0
    average_state: dict[str, Any] = field(default_factory=dict)
    selection_state: dict[str, Any] = field(default_factory=dict)
    failure_state: dict[str, Any] = field(default_factory=dict)
    log_state: dict[str, Any] = field(default_factory=dict)

    @property
    def has_only_weights(self) -> bool:
        """Whether the state of the optimiser is missing, without which no run can be resumed."""
        return not self.optimizer_state

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the configuration by their dotted keys."""
        return settings_of(self.config)

    def as_content(self) -> dict[str, Any]:
        """Returns the entries of a checkpoint file, by their names in it."""
        entries = {_entry_of(one): getattr(self, one.name) for one in fields(self)[1:]}
        entries["class_names"] = list(self.class_names)
        if not self.average_state:
            del entries["ema_state"]
        # As in PySlowFast: the index, from 0, of the last complete epoch.
        return {"epoch": self.progress.epoch - 1, "step": self.progress.step, **entries}

    @classmethod
    def from_content(cls, content: Mapping[str, Any], weights: dict[str, Tensor], *, source: str) -> Self:
        """Returns the state in the content of a checkpoint file; entries that it lacks have their defaults.

        Args:
            content: of the file, with ``epoch`` and ``optimizer_state``.
            weights: of the model, in the same file.
            source: the file, for messages.

        Raises:
            CheckpointError: where an entry is of another kind, as in files of other programs.
        """

        def entry(key: str, default: Any) -> Any:
            value = default if content.get(key) is None else content[key]
            kinds: dict[type, Any] = {float: (int, float), tuple: (list, tuple), dict: Mapping}
            if not isinstance(value, kinds.get(type(default), type(default))):
                raise CheckpointError(
                    f"{source}: {key} is a {type(value).__name__}: must be a {type(default).__name__}; set "
                    "TRAIN.CHECKPOINT_EPOCH_RESET True to start from its weights alone"
                )
            return value

        progress = TrainingProgress(entry("epoch", 0) + 1, entry("step", 0))
        empty = cls(progress, weights)
        entries = {one.name: entry(_entry_of(one), getattr(empty, one.name)) for one in fields(cls)[2:]}
        return cls(progress, weights, **{**entries, "class_names": tuple(entries["class_names"])})


def _entry_of(attribute: Field[Any]) -> str:
    """Returns the name of an attribute of :class:`TrainingState` in a file; some are PySlowFast's."""
    return {"config": "cfg", "average_state": "ema_state"}.get(attribute.name, attribute.name)


def fingerprint(dataset: ViewDataset) -> str:
    """Returns a hash of a data set's relative paths, labels and segments in their order."""
    return _RELATIVE + _hash(dataset, dataset.paths.relative_hash())


def former_fingerprint(dataset: ViewDataset, saved: str) -> str:
    """Returns a hash of full paths if ``saved``, that of a checkpoint, is of that kind; otherwise empty."""
    if not saved or saved.startswith(_RELATIVE):
        return ""
    return _hash(dataset, dataset.paths.content_hash())


def _hash(dataset: ViewDataset, paths: bytes) -> str:
    found = hashlib.sha256(np.ascontiguousarray(dataset.labels).tobytes() + paths)
    if dataset.segments is not None:
        found.update(np.ascontiguousarray(dataset.segments).tobytes())
    return found.hexdigest()
