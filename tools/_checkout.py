"""Runs a command of this checkout, also where none of its packages is installed; each tool begins here."""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def check_packages() -> None:
    """Ends the program with the remedy where packages that the checkout needs are not installed."""
    import re
    import shlex
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    missing = []
    for requirement in project["dependencies"]:
        name = re.split(r"[^\w.-]", requirement)[0]
        try:
            distribution(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        sys.stderr.write(
            f"{sys.executable} lacks packages that {ROOT} needs: {', '.join(missing)}\n"
            f"install them: {shlex.join([sys.executable, '-m', 'pip', 'install', '-e', str(ROOT)])}\n"
        )
        sys.exit(2)


def run(module: str, tool: str) -> None:
    """Runs the command in a module, and ends the program; the help names the file of a tool."""
    sys.exit(importlib.import_module(module).main(program=f"python tools/{tool}"))


if sys.version_info < (3, 11):  # noqa: UP036 (an older Python may be the default of the system)
    sys.exit(f"Python 3.11 or newer is needed; this is {sys.version_info.major}.{sys.version_info.minor}")
if find_spec("slowfast") is None:
    check_packages()
    sys.path += [str(ROOT), str(ROOT / "projects" / "vtn")]
