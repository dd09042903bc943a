"""The code that a process runs, for a comparison between the nodes of one run."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

from slowfast import __version__
from slowfast.registry import projects

# Differing files that are listed.
_MAX_LISTED = 5


def running_code() -> dict[str, str]:
    """Returns name -> version of this package, torch and Python, and source file -> hash.

    The sources are those of this package and of the projects: a version number alone does not distinguish two
    checkouts.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {"slowfast": __version__, "torch": torch.__version__, "Python": python}
    packages = {"slowfast", *(module.split(".")[0] for project in projects() for module in project.modules)}
    for package in sorted(packages):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            for path in sorted(Path(folder).rglob("*.py")):
                name = f"{package}/{path.relative_to(folder).as_posix()}"
                versions[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return versions


def describe_difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Returns how two results of :func:`running_code` differ, in words; empty where they are equal."""
    differing = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    versions = [name for name in differing if not name.endswith(".py")]
    if versions:
        return "; ".join(f"{name} {theirs.get(name)} instead of {ours.get(name)}" for name in versions)
    if not differing:
        return ""
    more = f" and {len(differing) - _MAX_LISTED} more" if len(differing) > _MAX_LISTED else ""
    return f"other sources: {', '.join(differing[:_MAX_LISTED])}{more}"
