"""Values from YAML and JSON texts and command lines, and their conversion to the type of a key."""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Mapping
from typing import Any

import yaml
from fvcore.common.config import CfgNode


def parse_literal(text: str) -> Any:
    """Returns a command-line value, read as a Python literal, else as YAML, else as plain text.

    >>> [parse_literal(text) for text in ("1e-4", "(1, 2)", "[a, b]", "true", "None", "x: [")]
    [0.0001, (1, 2), ['a', 'b'], True, None, 'x: [']
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = ...
    if isinstance(value, bool | int | float | str | list | tuple | dict | type(None)):
        return value
    try:
        return yaml.safe_load(text)
    except Exception:  # of many types, such as ValueError for the date 2024-02-30
        return text


def flatten(section: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a section and of the sections in it by their dotted names.

    >>> flatten({"backbone": {"stem": 0.1, "norm": 1}, "head": 10})
    {'backbone.stem': 0.1, 'backbone.norm': 1, 'head': 10}
    """
    found = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            found.update({f"{name}.{rest}": inner for rest, inner in flatten(value).items()})
        else:
            found[name] = value
    return found


def value_of(settings: Mapping[str, Any], key: str) -> Any:
    """Returns the value, or the section, of a dotted key.

    Raises:
        KeyError: for an unknown key.

    >>> value_of({"backbone": {"stem": 0.1}}, "backbone.stem")
    0.1
    """
    return functools.reduce(operator.getitem, key.split("."), settings)


def differing_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns both values of each key that two mappings have with different values.

    >>> differing_values({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5})
    {'b': (2, 4)}
    """
    return {key: (old[key], new[key]) for key in old if key in new and old[key] != new[key]}


def convert(value: Any, default: Any) -> Any:
    """Returns ``value`` as the type of ``default``.

    Integers are accepted as floats, and floats without a fractional part as integers. Text is read as a
    literal where the default is not text, since YAML reads ``1e-4`` as text. A single value is accepted as a
    list where the default has one element. A default of None means an optional number, ``[]`` a list of
    numbers, and ``()`` a tuple of texts.

    Raises:
        ValueError: with a message that continues "KEY = value: ".
    """
    if isinstance(default, str):
        text = "" if value is None and default == "" else value
        return _require(text, isinstance(text, str), "must be text; put it in quotes")
    if isinstance(value, str):
        value = parse_literal(value)
    if isinstance(default, bool):
        return _require(value, isinstance(value, bool), "must be True or False")
    if isinstance(default, int):
        integral = _is_finite(value) and value == int(value)
        return int(_require(value, integral, f"must be a whole number such as {default}"))
    if isinstance(default, float):
        return float(_require(value, _is_finite(value), f"must be a number such as {default}"))
    if isinstance(default, list | tuple):
        return _convert_list(value, default)
    if isinstance(default, CfgNode):
        keys = f"its keys are {', '.join(sorted(default))}" if default else "its keys are chosen by you"
        raise ValueError(f"must be a section; {keys}")
    return _require(value, value is None or _is_finite(value), "must be a number or None")


def _convert_list(value: Any, default: list[Any] | tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    if len(default) == 1 and not isinstance(value, list | tuple | dict):
        value = [value]
    element = "" if default == () else default[0] if default else None
    example = f" such as {list(default)}" if default else " of numbers such as [1, 0.1]"
    if default == ():
        example = f' of texts such as "[{value}]"' if isinstance(value, str) else " of texts such as [a, b]"
    _require(value, isinstance(value, list | tuple), f"must be a list{example}")
    try:
        items = [convert(item, element) for item in value]
    except ValueError:
        items = [None]
    items = _require(items, None not in items, f"must be a list{example}")
    return tuple(items) if default == () else items


def _require(value: Any, valid: bool, problem: str) -> Any:
    """Returns ``value`` where it is valid; raises ``ValueError`` with the problem otherwise."""
    if not valid:
        raise ValueError(problem)
    return value


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
