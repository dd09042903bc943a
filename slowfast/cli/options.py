"""Options that several commands have, and types of options, which refuse wrong values before any work."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from slowfast.errors import one_of
from slowfast.files import is_device


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a configuration and the changes of its keys."""
    parser.add_argument(
        "--cfg", required=True, metavar="CONFIG", help="YAML file, or the name of a shipped configuration"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys to change, with their values")


def add_json_option(parser: argparse.ArgumentParser, content: str) -> None:
    """Adds the option that names a JSON file for what is printed."""
    parser.add_argument(
        "--json", type=output_file(), metavar="FILE", help=f"write {content} to this file, too"
    )


def positive_number(text: str) -> float:
    """Returns the value of an option that must be a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0 and finite")
    return value


def number_from_zero(text: str) -> float:
    """Returns the value of an option that must be a number of 0 or more."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return value


def integer_from(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """Returns the ``type`` of an option that must be a whole number within these limits."""

    def integer(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text}: must be {minimum} or more")
        if value > maximum:
            raise argparse.ArgumentTypeError(f"{text}: must be {maximum} or less")
        return value

    return integer


positive_integer = integer_from(1)
"""The ``type`` of an option that must be a whole number of 1 or more."""


def output_file(*suffixes: str, standard_output: bool = False) -> Callable[[str], str]:
    """Returns the ``type`` of an option that names a file to write, which is checked before any work.

    Args:
        suffixes: those that the file may have; none: any.
        standard_output: whether ``-`` is accepted; the caller prints then. Empty text, no file, always is.
    """

    def output(text: str) -> str:
        path = Path(text)
        if not text or (text == "-" and standard_output):
            return text
        if not suffixes and is_device(path):
            return text
        if text == "-":
            raise argparse.ArgumentTypeError("-: is not printed here; name a file")
        if path.is_dir():
            name = f"result{suffixes[0] if suffixes else ''}"
            raise argparse.ArgumentTypeError(f"{text}: is a folder; name a file, such as {path / name}")
        if suffixes and path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"{text}: must end in {one_of(suffixes)}")
        folder = next((parent for parent in path.parents if parent.exists()), path.parent)
        if not folder.is_dir():
            raise argparse.ArgumentTypeError(f"{text}: {folder} is not a folder; choose another one")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise argparse.ArgumentTypeError(
                f"{text}: {folder} must not be written to; choose another folder, or change its permissions"
            )
        return text

    return output
