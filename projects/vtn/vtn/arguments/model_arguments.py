"""All arguments of a model together, and the names by which single ones of them are set.

Before there were groups all arguments stood side by side. These flat names, listed in ``FLAT_NAMES``, are
still accepted by the models, in ``config.json`` of published folders, and by :func:`vtn.create_model`.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Self, TypeVar

from fvcore.common.config import CfgNode

from slowfast.errors import ModelError, did_you_mean
from vtn.arguments.backbone import BackboneConfig
from vtn.arguments.groups import (
    EncoderConfig,
    FusionConfig,
    HeadConfig,
    InputConfig,
    ProbeConfig,
    Settings,
)

FLAT_NAMES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **{
            item.name: ("backbone", item.name)
            for item in fields(BackboneConfig)
            if item.name not in ("name", "checkpoint", "args")
        },
        "backbone_checkpoint": ("backbone", "checkpoint"),
        "backbone_args": ("backbone", "args"),
        **{item.name: ("encoder", item.name) for item in fields(EncoderConfig) if item.name != "checkpoint"},
        "encoder_checkpoint": ("encoder", "checkpoint"),
        **{f"fusion_{item.name}": ("fusion", item.name) for item in fields(FusionConfig)},
        **{f"input_{item.name}": ("input", item.name) for item in fields(InputConfig)},
        "mlp_dim": ("head", "mlp_dim"),
        "dropout_rate": ("head", "dropout"),
        "head_pooling": ("head", "pooling"),
        "head_skip": ("head", "skip"),
        **{f"probe_{item.name}": ("probe", item.name) for item in fields(ProbeConfig)},
    }
)
"""Flat name of an argument -> (name of its group, name of the field in the group)."""

Group = TypeVar("Group", bound=Settings)


@dataclass(frozen=True)
class ModelArguments:
    """The arguments of every model: its backbone and the number of classes.

    Attributes:
        backbone: see the class.
        num_classes: number K of logits, 1 or more.

    Raises:
        ModelError: for fewer classes than 1, and for what is not a whole number.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    num_classes: int = 400

    def __post_init__(self) -> None:
        # NumPy's integers, such as labels.max() + 1, become Python's, which config.json can hold.
        count = 0
        with suppress(TypeError):
            count = operator.index(self.num_classes)
        if count < 1 or isinstance(self.num_classes, bool):
            raise ModelError(f"num_classes = {self.num_classes!r}: must be 1 or more, as a whole number")
        object.__setattr__(self, "num_classes", count)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the arguments that the sections ``MODEL`` and ``VTN`` of a configuration describe."""
        groups: dict[str, Any] = {
            name: type(group).from_config(cfg)
            for name, group in cls().as_keywords().items()
            if isinstance(group, Settings)
        }
        return cls(**groups, num_classes=cfg.MODEL.NUM_CLASSES)

    def as_keywords(self) -> dict[str, Any]:
        """Returns the keyword arguments of the model's constructor, a group for each part."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def changed(self, values: Mapping[str, Any]) -> Self:
        """Returns a copy in which some arguments have other values.

        Args:
            values: name of an argument -> value. The names are ``num_classes``, the flat names of fields, and
                the groups: a group as value replaces the present one, a mapping sets some of its fields, None
                changes nothing; a name or a network for ``backbone`` sets the backbone's name, a text for
                ``fusion`` its kind. Flat names are applied after groups.

        Raises:
            ModelError: for an unknown name, with the nearest known one, and for values out of range.
        """
        arguments = self.as_keywords()
        flat: dict[str, dict[str, Any]] = {name: {} for name in arguments}
        for name, value in values.items():
            group, field_name = FLAT_NAMES.get(name, ("", ""))
            if name == "num_classes":
                arguments[name] = value
            elif name == "backbone" and (isinstance(value, str) or _is_network(value)):
                arguments[name] = replace(self.backbone, name=value)
            elif name == "fusion" and name in arguments and isinstance(value, str):
                arguments[name] = replace(arguments[name], kind=value)
            elif name in arguments:
                arguments[name] = _changed_group(name, arguments[name], value)
            elif group in arguments:
                flat[group][field_name] = value
            else:
                raise ModelError(f"{name}: the model has no such argument; {self._hint(name)}")
        for group, set_fields in flat.items():
            if set_fields:
                arguments[group] = replace(arguments[group], **set_fields)
        return type(self)(**arguments)

    def without_weights(self) -> Self:
        """Returns a copy by which nothing is loaded: the weights come from elsewhere afterwards."""
        flat = {"pretrained": False, "backbone_checkpoint": "", "encoder_checkpoint": ""}
        return self.changed(
            {name: value for name, value in flat.items() if hasattr(self, FLAT_NAMES[name][0])}
        )

    def _hint(self, name: str) -> str:
        own = [item.name for item in fields(self)]
        known = [*own, *(flat for flat, (group, _) in FLAT_NAMES.items() if group in own)]
        return did_you_mean(name, known, otherwise=f"known are {', '.join(known)}")


@dataclass(frozen=True)
class FusedModelArguments(ModelArguments):
    """The arguments of a model that fuses the tokens of a frame and classifies with VTN's head.

    Attributes:
        backbone, num_classes: see :class:`ModelArguments`.
        head, fusion, input: see the classes.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig, kw_only=True)
    input: InputConfig = field(default_factory=InputConfig, kw_only=True)


@dataclass(frozen=True)
class VTNArguments(FusedModelArguments):
    """All arguments of a VTN.

    Attributes:
        backbone, num_classes, head, fusion: see :class:`FusedModelArguments`.
        encoder: see :class:`EncoderConfig`.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)


@dataclass(frozen=True)
class ProbeArguments(ModelArguments):
    """All arguments of an attentive probe.

    Attributes:
        backbone, num_classes: see :class:`ModelArguments`.
        probe: see :class:`ProbeConfig`.
    """

    probe: ProbeConfig = field(default_factory=ProbeConfig)


def _is_network(value: object) -> bool:
    """Returns whether a value is a module of torch, which is not imported here, and not a class."""
    return hasattr(value, "state_dict") and not isinstance(value, type)


def _changed_group(name: str, group: Group, value: Any) -> Group:
    """Returns ``group`` as :meth:`ModelArguments.changed` describes for the value of a group."""
    if value is None:
        return group
    if isinstance(value, type(group)):
        return value
    if isinstance(value, Mapping):
        known = {item.name: f"{name}.{item.name}" for item in fields(group)}
        for key in value:
            if key not in known:
                hint = did_you_mean(key, known, otherwise=f"known are {', '.join(known)}")
                raise ModelError(f"{name}.{key}: {type(group).__name__} has no such field; {hint}")
        return replace(group, **value)
    names = "a name, a network, " if isinstance(group, BackboneConfig) else ""
    raise ModelError(
        f"{name} = {value!r}: must be {names}of type {type(group).__name__} or a mapping of its fields"
    )
