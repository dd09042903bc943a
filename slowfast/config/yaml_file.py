"""Reading of a YAML file into entries with their line numbers, for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slowfast.errors import ConfigError


@dataclass(frozen=True)
class YamlEntry:
    """A key of a mapping with its value and its place in the file.

    Attributes:
        name: the key, not dotted.
        value: the plain value; a dict for a mapping.
        where: the place, such as ``a.yaml, line 3``.
        children: the entries of a mapping; None for any other value.
    """

    name: str
    value: Any
    where: str
    children: tuple[YamlEntry, ...] | None = None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the floats of YAML 1.2: ``1e-4`` is a number without a decimal point."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> tuple[YamlEntry, ...]:
    """Returns the entries of the top mapping of a file; an empty tuple for an empty file.

    Raises:
        ConfigError: where the file cannot be read, is not valid YAML, or does not hold a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: must be a text file in UTF-8; give the path of a YAML file") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return () if node is None else _entries(loader, node, str(path))
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply, or an anchor contains itself; flatten it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: must be valid YAML; {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: must be valid YAML; {error}") from None


def entries_of(mapping: Mapping[Any, Any], where: str) -> tuple[YamlEntry, ...]:
    """Returns the entries of a plain mapping, all with the same place ``where``."""
    return tuple(
        YamlEntry(str(name), value, where, entries_of(value, where) if isinstance(value, Mapping) else None)
        for name, value in mapping.items()
    )


def _entries(loader: _Loader, node: yaml.Node, source: str) -> tuple[YamlEntry, ...]:
    """Returns the entries of a parsed mapping of the file ``source``."""
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise ConfigError(f"{source}, line {line}: must be a mapping; write lines such as 'NUM_GPUS: 1'")
    loader.flatten_mapping(node)
    entries = []
    for key, value in node.value:
        where = f"{source}, line {key.start_mark.line + 1}"
        children = _entries(loader, value, source) if isinstance(value, yaml.MappingNode) else None
        name = str(loader.construct_object(key, deep=True))
        entries.append(YamlEntry(name, loader.construct_object(value, deep=True), where, children))
    return tuple(entries)
