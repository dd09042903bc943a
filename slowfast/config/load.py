"""The door to a configuration: file with its bases, overrides, checks, freeze."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.config.check import check
from slowfast.config.defaults import get_default_config
from slowfast.config.merge import Merge
from slowfast.config.yaml_file import read_yaml
from slowfast.errors import ConfigError, did_you_mean
from slowfast.registry import projects

BASE_KEY = "_BASE_"


def load_config(
    path: str | Path, overrides: Sequence[str] = (), *, for_run: bool = False, warn: bool = True
) -> CfgNode:
    """Reads a configuration, checks it as a whole, and freezes it.

    The values of the file's base (``_BASE_``, a path relative to the file, over several levels) are laid
    over the defaults, then the file's own, then the overrides. Older names of keys are understood in all
    of them. Keys of PySlowFast that mean nothing here are named in one warning.

    Args:
        path: a YAML file, or the name of a configuration that a project ships, ``NAME`` or
            ``PROJECT/NAME``.
        overrides: ``["KEY", "VALUE", …]`` with values as on a command line.
        for_run: also check what only a run needs: data files, weights to test, the output folder. Leave
            it False where a model is only to be built.
        warn: False keeps the warning back, for all processes of a run but one.

    Raises:
        ConfigError: with all problems of the configuration.
    """
    merge = Merge(get_default_config(), projects())
    complete = _add_file(merge, find_config(path), ())
    merge.add_overrides(list(overrides))
    if complete:
        merge.problems += _new_problems(merge, check(merge.cfg, for_run=for_run))
    if merge.problems:
        raise ConfigError(*merge.problems, source=str(path))
    if merge.ignored and warn:
        logging.getLogger(__name__).warning(
            "%s: keys of PySlowFast that have no meaning here are ignored: %s",
            path,
            ", ".join(dict.fromkeys(merge.ignored)),
        )
    merge.cfg.freeze()
    return merge.cfg


def find_config(path: str | Path) -> Path:
    """Returns the file that ``path`` names: itself, or the shipped configuration of that name.

    Raises:
        ConfigError: when there is neither, with the nearest names of shipped ones, or all.
    """
    if Path(path).is_file():
        return Path(path)
    name = str(path).removesuffix(".yaml")
    shipped = _shipped_configs()
    for full_name, file in shipped.items():
        if name.casefold() in (full_name.casefold(), full_name.partition("/")[2].casefold()):
            return file
    what = "is a folder" if Path(path).is_dir() else "there is no such file"
    short = {full_name.partition("/")[2].casefold(): full_name for full_name in shipped}
    all_of_them = f"give a YAML file or one of {', '.join(shipped) or 'none'}"
    hint = did_you_mean(Path(name).name.casefold(), short, otherwise=all_of_them, cutoff=0.6)
    raise ConfigError(f"{path}: {what}; {hint}")


def _shipped_configs() -> dict[str, Path]:
    """Returns PROJECT/NAME -> file of the configurations that the installed projects ship."""
    found: dict[str, Path] = {}
    for project in projects():
        if project.configs:
            try:
                folder = Path(str(resources.files(project.configs)))
            except ModuleNotFoundError:  # a checkout that is not installed
                continue
            found |= {f"{project.name}/{file.stem}": file for file in sorted(folder.glob("*.yaml"))}
    return found


def _add_file(merge: Merge, path: Path, chain: tuple[Path, ...]) -> bool:
    """Lays a file over the configuration, its base first; False when any of them could not be read."""
    chain = (*chain, path.resolve())
    try:
        entries = read_yaml(path)
    except ConfigError as error:
        merge.problems += error.problems
        return False
    complete = True
    for entry in entries:
        if entry.name != BASE_KEY:
            continue
        base = Path(os.path.normpath(path.parent / Path(str(entry.value)).expanduser()))
        where = f"{BASE_KEY} ({entry.where}) = {entry.value!r}"
        if not isinstance(entry.value, str):
            merge.problems.append(f"{where}: wants one path, relative to this file")
            complete = False
        elif base.resolve() in chain:
            circle = " -> ".join(file.name for file in (*chain[chain.index(base.resolve()) :], base))
            merge.problems.append(f"{where}: the bases form a circle, {circle}; remove one of them")
            complete = False
        elif not base.is_file():
            merge.problems.append(f"{where}: there is no file {base}; the path is relative to {path.parent}/")
            complete = False
        else:
            complete &= _add_file(merge, base, chain)
    merge.add_entries(entry for entry in entries if entry.name != BASE_KEY)
    return complete


def _new_problems(merge: Merge, found: Sequence[str]) -> list[str]:
    """Adds to each problem where its key was set; drops those that follow from a failed setting."""
    new = []
    for problem in found:
        if any(re.search(rf"\b{re.escape(key)}\b", problem) for key in merge.failed):
            continue
        key, equals, rest = problem.partition(" = ")
        where = f" ({merge.origins[key]})" if equals and key in merge.origins else ""
        new.append(f"{key}{where}{equals}{rest}")
    return new
