"""The state of code and system in which a run was started, as plain text by name."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import slowfast

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "av")
_SECONDS = 5.0


def describe_environment(device: str) -> dict[str, str]:
    """Returns git state, system and versions by name.

    Args:
        device: of rank 0, in words.
    """
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "device": device,
        "command": " ".join(sys.argv),
        "slowfast": slowfast.__version__,
        **installed_versions(_PACKAGES),
        **describe_git(Path(slowfast.__file__).parent),
    }


def installed_versions(packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of Python and of the ``packages`` that are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def describe_git(folder: Path) -> dict[str, str]:
    """Returns commit, branch and the number of changed files of a checkout; empty where it is not one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": commit,
        "git_branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        "git_changed_files": str(len(changed.splitlines())),
    }


def _git(folder: Path, *arguments: str) -> str:
    """Returns the output of a git command; empty where git is missing or fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
