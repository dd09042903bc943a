"""The base of groups of arguments, whose fields stand for keys of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from fvcore.common.config import CfgNode

from slowfast.config.values import value_of
from slowfast.errors import ModelError
from vtn.config import REQUIREMENTS


def setting(default: Any, key: str) -> Any:
    """Returns a field of a group that stands for a key, and whose values meet the requirement on the key."""
    return field(default=default, metadata={"key": key})


@dataclass(frozen=True)
class Settings:
    """A group of arguments.

    Attributes:
        group: name of the group, for messages.

    Raises:
        ModelError: for a value that the field's key may not have, except the default None.
    """

    group: ClassVar[str]

    def __post_init__(self) -> None:
        for item in fields(self):
            requirement, value = REQUIREMENTS.get(item.metadata.get("key", "")), getattr(self, item.name)
            is_left_out = value is None and item.default is None
            if requirement is not None and not is_left_out:
                for problem in requirement.problems(f"{self.group}.{item.name}", value):
                    raise ModelError(problem)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that the keys of a configuration describe."""
        return cls(
            **{item.name: value_of(cfg, item.metadata["key"]) for item in fields(cls) if item.metadata}
        )
