"""The entries of a folder's ``config.json``, and the names of its files; see :mod:`vtn.folder.layout`.

This module does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

from slowfast.errors import ModelError
from vtn.arguments.model_arguments import ModelArguments

MODEL_TYPE = "vtn"
PROCESSOR_NAME = "video_preprocessor_config.json"
REMOTE_CODE_NAME = "modeling_vtn.py"
REMOTE_CODE = '''"""Classes of the package slowfast-vtn, for ``trust_remote_code=True``."""

try:
    from vtn.transformers import VTNConfig, VTNForVideoClassification, VTNVideoProcessor
except ImportError as error:
    raise ImportError("this model needs the package slowfast-vtn: pip install slowfast-vtn") from error

__all__ = ["VTNConfig", "VTNForVideoClassification", "VTNVideoProcessor"]
'''
AUTO_MAP: Mapping[str, str] = MappingProxyType(
    {
        "AutoConfig": "modeling_vtn.VTNConfig",
        "AutoModelForVideoClassification": "modeling_vtn.VTNForVideoClassification",
        "AutoVideoProcessor": "modeling_vtn.VTNVideoProcessor",
    }
)

FACTS = ("architecture", "class_names", "evaluation", "frame_mean", "frame_std", "weights_digest")
"""Entries of ``config.json`` about the weights."""

NEEDED_ENTRIES = ("num_classes", "class_names", "frame_mean", "frame_std", "weights_digest")
"""Entries without which a model is not loaded."""

TRANSFORMERS_ENTRIES = (
    *("model_type", "architectures", "auto_map", "dtype", "id2label", "label2id", "problem_type"),
    "transformers_version",
)
"""Entries of ``config.json`` that only ``transformers`` reads."""


def transformers_entries(
    *, class_names: Sequence[str], num_classes: int, dtype: str | None, problem_type: str | None
) -> dict[str, Any]:
    """Returns the values of ``TRANSFORMERS_ENTRIES`` that depend on nothing but the model.

    Args:
        class_names: K names, or empty; classes are then called ``LABEL_0`` and so on.
        num_classes: K.
        dtype: of the weights, such as ``float32``.
        problem_type: ``single_label_classification``, ``multi_label_classification``, ``regression``, or
            None.
    """
    labels = class_names or default_labels(num_classes)
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["VTNForVideoClassification"],
        "auto_map": dict(AUTO_MAP),
        "dtype": dtype,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": problem_type,
    }


def default_labels(num_classes: int) -> list[str]:
    """Returns the names that ``transformers`` gives to classes without names."""
    return [f"LABEL_{index}" for index in range(num_classes)]


# Built-in score activation -> the problem type for which the pipeline of `transformers` applies it: softmax
# without a type, and nothing to "regression"; the loss of these models is not affected.
LOGITS_ARE_SCORES = "regression"
_PROBLEM_TYPES = {"softmax": None, "sigmoid": "multi_label_classification", "none": LOGITS_ARE_SCORES}


def problem_type_of(evaluation: Mapping[str, Any]) -> str | None:
    """Returns the problem type by which ``transformers`` chooses the score activation of an evaluation.

    The pipeline must apply nothing to the scores of a user's own activation, which the model applies.
    """
    return _PROBLEM_TYPES.get(evaluation.get("MODEL.HEAD_ACT", "softmax"), LOGITS_ARE_SCORES)


def own_activation_of(evaluation: Mapping[str, Any]) -> str:
    """Returns the name of a score activation that the user has registered; empty: it is a built-in one."""
    name: str = evaluation.get("MODEL.HEAD_ACT", "softmax")
    return "" if name in _PROBLEM_TYPES else name


def arguments_as_json(arguments: ModelArguments) -> dict[str, Any]:
    """Returns the arguments as an object of JSON with one object per group.

    Raises:
        ModelError: for values that JSON does not have, with their names.
    """
    content: dict[str, Any] = {}
    unsuitable: list[str] = []
    for name, group in arguments.as_keywords().items():
        content[name] = group  # num_classes, which belongs to no group
        if is_dataclass(group):
            content[name] = values = {field.name: getattr(group, field.name) for field in fields(group)}
            unsuitable += [f"{name}.{key}" for key, value in values.items() if not _is_plain(value)]
    if "backbone.name" in unsuitable:
        raise ModelError(
            "the backbone was given as a module, which config.json cannot describe; register it in "
            "BACKBONE_REGISTRY and build the model with its name"
        )
    if unsuitable:
        raise ModelError(
            f"{', '.join(unsuitable)}: config.json cannot describe the value; give plain values (numbers, "
            "texts, lists, mappings of texts to them), or register a backbone that needs no such argument in "
            "BACKBONE_REGISTRY and build the model with its name"
        )
    return content


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
