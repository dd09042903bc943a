"""Loading a configuration: a file with its bases, overrides, checks, and freezing."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.config.check import check
from slowfast.config.check_values import check_run_names
from slowfast.config.defaults import get_default_config
from slowfast.config.merge import Merge, Overrides
from slowfast.config.yaml_file import YamlEntry, read_yaml
from slowfast.errors import ConfigError, did_you_mean
from slowfast.registry import find_package, projects

BASE_KEY = "_BASE_"


def load_config(
    path: str | Path, overrides: Overrides = (), *, for_run: bool = False, warn: bool = True
) -> CfgNode:
    """Reads a configuration, checks it as a whole, and freezes it.

    Later values replace earlier ones: the defaults, the file's base (``_BASE_``, a path relative to the file
    or the name of a shipped configuration; a base may have a base), the file, the overrides. Older names of
    keys are accepted in all of them. Keys of PySlowFast that are not read here are listed in one warning;
    values that would make another model or task are refused. The modules in ``IMPORTS`` are imported.

    Args:
        path: a YAML file, or the name of a configuration that a project ships, ``NAME`` or
            ``PROJECT/NAME``.
        overrides: ``["KEY", VALUE, …]`` or ``{"KEY": VALUE, …}``, with values as texts of a command line or
            as numbers, lists, paths.
        for_run: also check what only a run needs: the names of model and data sets, data files, weights to
            test, the output folder. Leave it False to build a model only.
        warn: False omits the warnings, for all processes of a run but one.

    Raises:
        ConfigError: with all problems of the configuration.

    >>> cfg = load_config("SLOW_8x8_R50", ["SOLVER.BASE_LR", "0.05"])
    >>> cfg.MODEL.ARCH, cfg.DATA.NUM_FRAMES, cfg.SOLVER.BASE_LR
    ('slow', 8, 0.05)
    >>> load_config("SLOW_8x8_R50", ["SOLVER.BASE_LR", "high"])
    Traceback (most recent call last):
    slowfast.errors.ConfigError: 1 problem in SLOW_8x8_R50:
      - SOLVER.BASE_LR (override) = 'high': must be a number such as 0.1
    """
    merge = Merge(get_default_config(), projects())
    complete = _add_file(merge, find_config(path), ())
    paired = merge.add_overrides(overrides)
    differences = []
    if complete and paired:
        differences = merge.check_fixed_keys()
        merge.problems += _new_problems(merge, check(merge.cfg, for_run=for_run))
    if for_run and not merge.problems:
        # Last, since it imports torch, and other mistakes are answered at once.
        merge.problems += _new_problems(merge, [*check_run_names(merge.cfg)])
    if merge.problems:
        raise ConfigError(*merge.problems, source=str(path))
    if warn:
        _log_unread_keys(path, merge.ignored, differences)
    merge.cfg.freeze()
    return merge.cfg


def _log_unread_keys(path: str | Path, ignored: Sequence[str], differences: Sequence[str]) -> None:
    """Logs the keys of PySlowFast that are not read, and the differences that some of them make."""
    logger = logging.getLogger(__name__)
    if ignored:
        names = ", ".join(dict.fromkeys(ignored))
        logger.warning("%s: these keys of PySlowFast are not read here: %s", path, names)
    if differences:
        logger.warning("%s: keys of PySlowFast with another effect here: %s", path, "; ".join(differences))


def find_config(path: str | Path) -> Path:
    """Returns ``path`` if it is a file, else the shipped configuration of that name, in any letter case.

    Raises:
        ConfigError: where neither exists, with the nearest names of shipped configurations, or all of them.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(
            f"the configuration is a {type(path).__name__}: must be the path of a YAML file or the name of a "
            "configuration"
        )
    if os.path.isfile(path):
        return Path(path)
    shipped = _shipped_configs()
    if (file := _config_named(str(path), shipped)) is not None:
        return file
    problem = "is a folder" if os.path.isdir(path) else "does not exist"
    short = {full_name.partition("/")[2].casefold(): full_name for full_name in shipped}
    # BASE_….yaml holds what other configurations have in common.
    complete = [full_name for full_name in shipped if "/BASE_" not in full_name]
    all_names = f"give a YAML file or one of {', '.join(complete) or 'none'}"
    name = Path(path).name.removesuffix(".yaml").casefold()
    hint = did_you_mean(name, short, otherwise=all_names, cutoff=0.6)
    raise ConfigError(f"{path}: {problem}; {hint}")


def _config_named(name: str, shipped: Mapping[str, Path]) -> Path | None:
    """Returns the configuration of that name, in any letter case; None where none has it."""
    name = name.removesuffix(".yaml").casefold()
    for full_name, file in shipped.items():
        if name in (full_name.casefold(), full_name.partition("/")[2].casefold()):
            return file
    return None


def _shipped_configs() -> dict[str, Path]:
    """Returns PROJECT/NAME -> file of the configurations that the projects ship."""
    found: dict[str, Path] = {}
    for project in projects():
        if project.configs and (folder := find_package(project.configs)):
            found |= {f"{project.name}/{file.stem}": file for file in sorted(folder.glob("*.yaml"))}
    return found


def _add_file(merge: Merge, path: Path, chain: tuple[Path, ...]) -> bool:
    """Merges a file into the configuration, its base first.

    Args:
        chain: resolved paths of the files that have led to this one as their base.

    Returns:
        False where any of the files could not be read.
    """
    chain = (*chain, path.resolve())
    try:
        entries = read_yaml(path)
    except ConfigError as error:
        merge.problems += error.problems
        return False
    complete = True
    for entry in entries:
        if entry.name == BASE_KEY:
            complete &= _add_base(merge, entry, path, chain)
    merge.add_entries(entry for entry in entries if entry.name != BASE_KEY)
    return complete


def _add_base(merge: Merge, entry: YamlEntry, path: Path, chain: tuple[Path, ...]) -> bool:
    """Merges the base that an entry of the file ``path`` names; returns False where it cannot be read."""
    base = Path(os.path.normpath(path.parent / Path(str(entry.value)).expanduser()))
    if not os.path.isfile(base):
        base = _config_named(str(entry.value), _shipped_configs()) or base
    if not isinstance(entry.value, str):
        problem = "must be one path, relative to this file"
    elif not os.path.isfile(base):  # first, as resolve fails for text that cannot be a path
        problem = f"{base} does not exist; give a path relative to {path.parent}/, or a shipped configuration"
    elif base.resolve() in chain:
        circle = " -> ".join(file.name for file in (*chain[chain.index(base.resolve()) :], base))
        problem = f"the bases form a circle, {circle}; remove one of them"
    else:
        return _add_file(merge, base, chain)
    merge.problems.append(f"{BASE_KEY} ({entry.where}) = {entry.value!r}: {problem}")
    return False


def _new_problems(merge: Merge, found: Sequence[str]) -> list[str]:
    """Returns the problems of a check, each with the place where its key was set.

    Problems that only follow from a key whose setting was refused are left out.
    """
    new = []
    for problem in found:
        if any(re.search(rf"\b{re.escape(key)}\b", problem) for key in merge.failed):
            continue
        key, equals, rest = problem.partition(" = ")
        where = f" ({merge.origins[key]})" if equals and key in merge.origins else ""
        new.append(f"{key}{where}{equals}{rest}")
    return new
