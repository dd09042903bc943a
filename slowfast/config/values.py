"""Turning what a YAML file or a command line says into a value of the type that a key wants."""

from __future__ import annotations

import ast
import math
from typing import Any

import yaml
from fvcore.common.config import CfgNode


def parse_literal(text: str) -> Any:
    """Reads a value as written on a command line: a Python literal, else YAML, else the text itself.

    >>> [parse_literal(text) for text in ("1e-4", "(1, 2)", "[a, b]", "true", "None", "x: [")]
    [0.0001, (1, 2), ['a', 'b'], True, None, 'x: [']
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = ...
    if isinstance(value, bool | int | float | str | list | tuple | dict | type(None)):
        return value
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def convert(value: Any, default: Any) -> Any:
    """Returns ``value`` as the type of ``default``.

    Whole numbers serve as floats and floats without a fraction as whole numbers; text is read as a
    literal where no text is wanted (YAML takes ``1e-4`` for text); a bare value serves as a list where
    the default has one element; a default of None stands for an optional number, ``[]`` for a list of numbers
    and ``()`` for one of texts, which stays a tuple.

    Raises:
        ValueError: saying what is wanted, in words that continue "KEY = value: ".
    """
    if isinstance(default, str):
        return _convert_text(value, default)
    if isinstance(value, str):
        value = parse_literal(value)
    if isinstance(default, bool):
        return _require(value, isinstance(value, bool), "wants True or False")
    if isinstance(default, int):
        whole = _is_number(value) and math.isfinite(value) and value == int(value)
        return int(_require(value, whole, f"wants a whole number such as {default}"))
    if isinstance(default, float):
        return float(_require(value, _is_finite(value), f"wants a number such as {default}"))
    if isinstance(default, list | tuple):
        return _convert_list(value, default)
    if isinstance(default, CfgNode):
        raise ValueError(f"is a section; its keys are {', '.join(sorted(default)) or 'free'}")
    return _require(value, value is None or _is_finite(value), "wants a number or None")


def _convert_text(value: Any, default: str) -> str:
    if value is None and default == "":
        return ""
    return _require(value, isinstance(value, str), "wants text; put it in quotes")


def _convert_list(value: Any, default: list[Any] | tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    if len(default) == 1 and not isinstance(value, list | tuple | dict):
        value = [value]
    element = "" if default == () else default[0] if default else None
    example = f" such as {list(default)}" if default else " of numbers such as [1, 0.1]"
    if default == ():
        example = " of texts such as [a, b]"
    _require(value, isinstance(value, list | tuple), f"wants a list{example}")
    try:
        items = [convert(item, element) for item in value]
    except ValueError:
        items = [None]
    items = _require(items, None not in items, f"wants a list{example}")
    return tuple(items) if default == () else items


def _require(value: Any, good: bool, wish: str) -> Any:
    if not good:
        raise ValueError(wish)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)
