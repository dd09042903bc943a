"""Parsers of commands and their sub-commands, whose help is the docstring of a module.

The first line of the docstring stands in the list of commands. The paragraphs before the line ``examples:``
are printed above the options, the examples below them. A docstring is read without importing its module, so
that lists of commands are printed at once.

Each command is a module with ``main(argv=None, *, program) -> int``, which returns the exit status. ``argv``
are the arguments without the program's name, None those of the process; ``program`` is the command as the
user has typed it, for help and messages.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn

from slowfast.errors import did_you_mean
from slowfast.log import prepare_stdout

EXAMPLES = "\nexamples:\n"
_TEXT_COLUMNS = 108  # longer lines are hard to read


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help whose paragraphs and lists fit the terminal; other indented lines are commands to copy."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = re.sub(r"(?<=\S)\n(?=\S)(?!Exit status)", " ", text)
        return "\n".join(_wrap(line, min(width, _TEXT_COLUMNS)) for line in paragraphs.splitlines())


def _wrap(line: str, width: int) -> str:
    """Returns a line of help in several lines; the text of a list's line stays behind its name."""
    name = re.match(r"  \S+ {2,}", line)
    if line.startswith(" ") and not name:
        return line
    hanging = " " * (name.end() if name else 0)
    return textwrap.fill(
        line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


class _Parser(argparse.ArgumentParser):
    """A parser that explains how files with names like options are given, and prepares stdout for help.

    Options are written in full: an abbreviation would mean another option once a longer name is added.
    """

    def __init__(self, **options: Any) -> None:
        prepare_stdout()
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        files = [word for word in message.split() if word.startswith("-") and os.path.exists(word)]
        if message.startswith("unrecognized arguments") and files:
            message += f"; write ./{files[0]} for the file of this name"
        super().error(message)


def make_parser(doc: str | None, program: str, command: str = "", **options: Any) -> argparse.ArgumentParser:
    """Returns a parser whose help is a docstring.

    Args:
        doc: the docstring; None where Python runs without docstrings.
        program: what the user has typed, such as ``python tools/run_net.py``.
        command: the same command as the docstring writes it, such as ``slowfast run``; the help shows
            ``program`` in its place.
        options: further arguments of ``argparse.ArgumentParser``.
    """
    description, examples = _split_help(doc, program, command)
    return _Parser(prog=program, description=description, epilog=examples, formatter_class=_Help, **options)


def _split_help(doc: str | None, program: str, command: str) -> tuple[str, str]:
    """Returns the paragraphs of a docstring, and its examples with their title."""
    text = (doc or "").replace(command or program, program)
    description, title, examples = text.partition(EXAMPLES)
    return description.strip(), (title + examples).strip()


def summary(module: str) -> str:
    """Returns the first line of a module's docstring, read without running the module."""
    spec = importlib.util.find_spec(module)
    text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def choose_module(
    program: str, modules: Mapping[str, str], argv: Sequence[str] | None, *, doc: str | None, command: str
) -> tuple[ModuleType, argparse.ArgumentParser, list[str]]:
    """Returns the module of the sub-command that was asked for, its parser, and the arguments behind it.

    The module has ``add_arguments(parser)``, which was called; its docstring is the help. For the arguments
    and for unknown names see :func:`choose_command`.
    """
    name, rest = choose_command(program, modules, argv, doc=doc, command=command)
    module = importlib.import_module(modules[name])
    parser = make_parser(module.__doc__, f"{program} {name}", f"{command} {name}")
    module.add_arguments(parser)
    return module, parser, rest


def choose_command(
    program: str,
    modules: Mapping[str, str],
    argv: Sequence[str] | None,
    *,
    doc: str | None,
    command: str = "",
    version: str = "",
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, list[str]]:
    """Returns the name of the sub-command that was asked for, and the arguments behind it.

    Prints the list of sub-commands and exits where ``--help`` or nothing was given; prints an error and exits
    with status 2 where the name is unknown.

    Args:
        program: what the user has typed before the name.
        modules: name of a sub-command -> its module.
        argv: arguments; None: those of the process.
        doc: docstring whose paragraphs are printed above the list, and its examples below.
        command: ``program`` as the docstring writes it, see :func:`make_parser`.
        version: printed by ``--version``; empty: the option is left out.
        elsewhere: name that users may give here -> the command that they mean.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in modules:
        return arguments[0], arguments[1:]
    description, examples = _split_help(doc, program, command)
    width = max(map(len, modules), default=0)
    lines = [f"  {name:<{width}}  {summary(module)}" for name, module in modules.items()]
    parser = _Parser(
        prog=program,
        usage=f"{program} COMMAND [ARGUMENTS]",
        description="\n".join([description, "", "commands:", *lines]),
        epilog=f"{examples}\n\n{program} COMMAND --help shows the options and examples of a command.".strip(),
        formatter_class=_Help,
    )
    if version:
        parser.add_argument("--version", action="version", version=version)
    parser.add_argument("command", choices=modules, metavar="COMMAND", help=argparse.SUPPRESS)
    if not arguments:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if not (name := arguments[0]).startswith("-"):
        known = {known: f"`{program} {known}`" for known in modules}
        known |= {other: f"`{meant}`" for other, meant in elsewhere.items()}
        hint = did_you_mean(name, known, otherwise=f"must be one of {', '.join(modules)}", cutoff=0.6)
        if name in elsewhere:
            hint = f"use `{elsewhere[name]}`"
        parser.error(f"{name}: is not a command of {program}; {hint}")
    return parser.parse_args(arguments).command, []
