"""The command line of ``tools/analyze.py``: finds the analyses, and runs the one that was asked for.

An analysis is a module whose docstring's first line says in a sentence what it prints. It has
``add_arguments(parser)`` and ``run(args) -> int``, which prints and returns the exit status. The framework's
are the modules beside this one; a project names its own in ``Project.analyses``. Listing them imports none.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast import analysis
from slowfast.exit_status import run_command
from slowfast.registry import projects


def find_analyses() -> dict[str, str]:
    """Returns name of a sub-command -> module, the framework's and those of all projects."""
    own = {
        module.name: f"{analysis.__name__}.{module.name}"
        for module in pkgutil.iter_modules(analysis.__path__)
        if f"{analysis.__name__}.{module.name}" != __name__
    }
    for project in projects():
        own.update(project.analyses)
    return dict(sorted(own.items()))


def summary(module: str) -> str:
    """The first line of a module's docstring, read without running the module."""
    spec = importlib.util.find_spec(module)
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status.

    Args:
        argv: arguments without the program's name; None: those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    analyses = find_analyses()
    if not arguments or arguments[0] not in analyses:
        width = max(map(len, analyses), default=0)
        listing = "\n".join(f"  {name:<{width}}  {summary(module)}" for name, module in analyses.items())
        parser = argparse.ArgumentParser(
            prog="analyze.py",
            description=f"Looks into models and results.\n\nanalyses:\n{listing}",
            epilog="python tools/analyze.py NAME --help tells more about one of them",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("name", choices=analyses, metavar="NAME", help="one of the above")
        parser.parse_args(arguments)  # prints the help or the error, and leaves
    name, *rest = arguments
    module = importlib.import_module(analyses[name])
    parser = argparse.ArgumentParser(
        prog=f"analyze.py {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_intermixed_args(rest)
    return run_command(parser.prog, lambda: module.run(args))
