"""Reading of a YAML file into entries with their line numbers, for messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


# A configuration has about 500 values, and one weight per class at most. PyYAML needs ten seconds for these.
_MOST_CHARACTERS = 1 << 20
_MOST_VALUES = 100_000
_MOST_DIGITS = 100


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the floats of YAML 1.2: ``1e-4`` is a number without a decimal point."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Returns an integer; one of very many digits is refused, since Python does not write it out."""
        if len(node.value) > _MOST_DIGITS:
            problem = f"an integer of {len(node.value)} digits; {_MOST_DIGITS} are the most"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> tuple[YamlEntry, ...]:
    """Returns the entries of the top mapping of a file; an empty tuple for an empty file.

    Raises:
        ConfigError: where the file cannot be read, is not valid YAML, does not hold a mapping, or holds far
            more than a configuration.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: must be a text file in UTF-8; give the path of a YAML file") from None
    with _user_errors(str(path)):
        loader, node = _compose(text, str(path))
        return () if node is None else _entries(loader, node, str(path))


def parse_yaml(text: str, source: str) -> dict[Any, Any]:
    """Returns the mapping in the text of a configuration, as plain values; an empty one for an empty text.

    Args:
        source: the origin of the text, for messages.

    Raises:
        ConfigError: as :func:`read_yaml`.
    """
    with _user_errors(source):
        loader, node = _compose(text, source)
        content = {} if node is None else loader.construct_document(node)
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: must be a mapping of keys to values")
    return content


def _compose(text: str, source: str) -> tuple[_Loader, yaml.Node | None]:
    """Returns the loader of a text and its top node, which is not larger than a configuration can be."""
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(
            f"{source}: has more than {_MOST_CHARACTERS} characters, far more than a configuration; give the "
            "path of one"
        )
    loader = _Loader(text)
    node = loader.get_single_node()
    pending, visited = [node] if node else [], 0
    while pending:  # an alias counts as what it stands for: a few lines may stand for millions of values
        part = pending.pop()
        visited += 1
        if visited > _MOST_VALUES:
            raise ConfigError(
                f"{source}: has more than {_MOST_VALUES} values, or an anchor contains itself; write fewer, "
                "without anchors"
            )
        if isinstance(part, yaml.MappingNode):
            pending += [inner for pair in part.value for inner in pair]
        elif isinstance(part, yaml.SequenceNode):
            pending += part.value
    return loader, node


@contextmanager
def _user_errors(source: str) -> Iterator[None]:
    """Raises the errors of PyYAML as ``ConfigError``."""
    try:
        yield
    except RecursionError:
        raise ConfigError(f"{source}: is nested too deeply; flatten it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: must be valid YAML; {error.problem}") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # such as for `!!bool x`
        raise ConfigError(f"{source}: must be valid YAML; {error}") from None


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
