"""The configuration of a model for ``transformers``; its file is the ``config.json`` of a published folder.

This module imports neither torch nor a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import Any, Self

from transformers.configuration_utils import PretrainedConfig

from slowfast.errors import CheckpointError, ModelError, did_you_mean
from vtn.arguments.model_arguments import FLAT_NAMES
from vtn.config import MODEL_NAMES
from vtn.folder.entries import (
    MODEL_TYPE,
    TRANSFORMERS_ENTRIES,
    default_labels,
    problem_type_of,
    transformers_entries,
)
from vtn.transformers.registration import register_model

GROUPS = ("backbone", "encoder", "head", "fusion", "input", "probe")
DEFAULT_CLASSES = 400

# Entries by which weights are loaded from elsewhere.
_WEIGHT_ENTRIES = (
    ("backbone", "pretrained", False),
    ("backbone", "checkpoint", ""),
    ("encoder", "checkpoint", ""),
)
# Arguments that from_pretrained adds to those of a configuration's own.
_LOADING_OPTIONS = ("torch_dtype", "attn_implementation", "experts_implementation")


class VTNConfig(PretrainedConfig):
    """The description of a model of this package: its class, arguments, class names and evaluation.

    A configuration that was read from a file names no weights: the file cannot be trusted. Its
    backbone is checked when a model is built from it. Only the entries of a published folder are saved.

    Args:
        architecture: name of the class, such as ``VTN``, ``FrameAverage`` or ``AttentiveProbe``.
        num_classes: K; None: as many as there are names, or 400. ``num_labels`` means the same.
        class_names: K names; empty: not known. ``id2label`` means the same.
        evaluation: config key -> value, see :mod:`vtn.arguments.evaluation`; None: not known.
        frame_mean, frame_std: normalisation of frames; None: the backbone's own.
        weights_digest: hash of the weights; empty: not known.
        num_frames: frames that a pipeline asks the video processor for, spread over the full video; None: as
            in ``evaluation``.
        fields: groups of arguments (``backbone``, ``encoder``, ``head``, …) as mappings or dataclasses,
            single arguments by flat names, as for :class:`vtn.VTN`, and those of ``PretrainedConfig``.

    Attributes:
        arguments: group -> its fields, as far as they are given, and single arguments of a user's class.
        Others as above.

    Raises:
        ModelError: for unknown arguments, and for a number of names that differs from that of the classes.

    >>> config = VTNConfig(backbone="shallow_conv", pretrained=False, num_layers=1, num_labels=5)
    >>> config.num_classes, config.arguments["encoder"]
    (5, {'num_layers': 1})
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        architecture: str = "VTN",
        *,
        num_classes: int | None = None,
        class_names: Sequence[str] = (),
        evaluation: Mapping[str, Any] | None = None,
        frame_mean: Sequence[float] | None = None,
        frame_std: Sequence[float] | None = None,
        weights_digest: str = "",
        num_frames: int | None = None,
        **fields: Any,
    ) -> None:
        register_model()
        self.architecture = architecture
        self.arguments = take_arguments(fields)
        self.evaluation = dict(evaluation or {})
        self.frame_mean = None if frame_mean is None else [*frame_mean]
        self.frame_std = None if frame_std is None else [*frame_std]
        self.weights_digest = weights_digest
        self.num_frames = num_frames
        self.chosen_backbone = self.arguments.get("backbone", {}).get("name", "")
        self._take_own(fields)
        for name in ("model_type", "transformers_version"):
            fields.pop(name, None)
        if fields.get("problem_type") is None:
            fields["problem_type"] = problem_type_of(self.evaluation)
        fields.update(_labels(num_classes, class_names, fields))
        super().__init__(**fields)

    @property
    def num_classes(self) -> int:
        """The number K of classes."""
        return len(self.id2label)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K names of the classes; empty where they are not known."""
        names = tuple(self.id2label[index] for index in range(len(self.id2label)))
        return () if [*names] == default_labels(len(names)) else names

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Returns the configuration in the content of a file, without the weights that it names.

        Args:
            config_dict: content of ``config.json``; folders from before ``transformers`` read them too.
            kwargs: attributes with other values, and ``return_unused_kwargs``.

        Raises:
            CheckpointError: for a content that is not a configuration of this package.
        """
        content = dict(config_dict)
        try:
            arguments = take_arguments(content)
            for group, name, nothing in _WEIGHT_ENTRIES:
                if name in arguments.get(group, {}):
                    arguments[group][name] = nothing
            config = super().from_dict({**content, **arguments}, **kwargs)
        except (ModelError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"config.json was written by another version, or was changed: {error}"
            ) from error
        (config[0] if isinstance(config, tuple) else config).chosen_backbone = ""
        return config

    @classmethod
    def from_json_file(cls, json_file: Any) -> Self:
        """Returns the configuration in a file, as :meth:`from_dict`."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of ``config.json``."""
        dtype = None if self.dtype is None else str(self.dtype).removeprefix("torch.")
        return {
            **transformers_entries(
                class_names=self.class_names,
                num_classes=self.num_classes,
                dtype=dtype,
                problem_type=self.problem_type,
            ),
            **{k: dict(v) if isinstance(v, Mapping) else v for k, v in self.arguments.items()},
            "num_classes": self.num_classes,
            "architecture": self.architecture,
            "class_names": [*self.class_names],
            "evaluation": dict(self.evaluation),
            "frame_mean": self.frame_mean,
            "frame_std": self.frame_std,
            "weights_digest": self.weights_digest,
        }

    def to_diff_dict(self) -> dict[str, Any]:
        """Returns :meth:`to_dict`: a file has all entries, so that other defaults do not change a model."""
        return self.to_dict()

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoConfig") -> None:
        """Does nothing: a folder already names its classes, and needs no copy of this file."""

    def _take_own(self, fields: dict[str, Any]) -> None:
        """Moves the arguments that only a user's class has from ``fields`` to those of the model.

        Raises:
            ModelError: for names that neither the class nor ``transformers`` knows.
            CheckpointError: for other names than this package's, and a class that is unknown.
        """
        known = {*dir(PretrainedConfig), *TRANSFORMERS_ENTRIES, *_LOADING_OPTIONS}
        unknown = [name for name in fields if name not in known and not name.startswith("_")]
        own: set[str] = set()
        if unknown and self.architecture not in MODEL_NAMES:
            from vtn.factory import find_model_class

            kind = find_model_class(self.architecture, "config.json").arguments_type
            own = {field.name for field in fields_of(kind)}
        for name in unknown:
            if name not in own:
                names = [*GROUPS, *FLAT_NAMES, *own]
                hint = did_you_mean(name, names, otherwise=f"known are {', '.join(names)}")
                raise ModelError(f"{name}: the model has no such argument; {hint}")
            self.arguments[name] = fields.pop(name)


def take_arguments(fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Removes the arguments of a model from ``fields``, and returns them as group -> its fields.

    Groups may be mappings and dataclasses, ``backbone`` also its name and ``fusion`` its kind; single
    arguments have flat names.

    Raises:
        ModelError: for a group of another kind.
    """
    arguments: dict[str, dict[str, Any]] = {}
    for name in [name for name in fields if name in GROUPS]:
        group = fields.pop(name)
        if isinstance(group, str) and name in ("backbone", "fusion"):
            group = {"name" if name == "backbone" else "kind": group}
        if is_dataclass(group):
            group = vars(group)
        if not isinstance(group, Mapping | None):
            raise ModelError(f"{name} = {group!r}: must be a mapping of its fields")
        if group is not None:
            arguments[name] = dict(group)
    for name in [name for name in fields if name in FLAT_NAMES]:
        group_name, field = FLAT_NAMES[name]
        arguments.setdefault(group_name, {})[field] = fields.pop(name)
    return arguments


def _labels(num_classes: int | None, class_names: Sequence[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``id2label`` and ``label2id``; a number of labels that differs from the names replaces them.

    Raises:
        ModelError: for numbers that do not fit together.
    """
    wanted = fields.get("num_labels")
    labels = [*class_names]
    if (id2label := fields.get("id2label")) is not None:
        labels = [label for _, label in sorted((int(index), label) for index, label in id2label.items())]
    if num_classes is not None and labels and len(labels) != num_classes:
        raise ModelError(f"num_classes = {num_classes}: must be {len(labels)}, the number of class names")
    if wanted is not None and wanted != len(labels):
        labels = default_labels(wanted)
    labels = labels or default_labels(DEFAULT_CLASSES if num_classes is None else num_classes)
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "num_labels": len(labels),
    }
