"""Registries by which projects and users add models and data sets under a name.

A project is announced through the entry-point group ``slowfast.projects``; the entry point is a
:class:`Project`. Its config hooks are cheap; the modules that register its classes are imported
only when a model or a data set is built.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from slowfast.errors import ConfigError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects; used as a decorator: ``@MODEL_REGISTRY.register()``.

    Args:
        kind: what is registered, for messages ("model", "data set").
        key: the config key that chooses among the names, for messages.
    """

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        self._entries: dict[str, T] = {}

    def register(self, name: str | None = None) -> Callable[[T], T]:
        """Returns a decorator that registers its object under ``name`` (default: its ``__name__``)."""

        def add(entry: T) -> T:
            entry_name = name or entry.__name__  # type: ignore[attr-defined]
            present = self._entries.get(entry_name)
            if present is not None and present is not entry:
                raise ConfigError(f"{self.kind} {entry_name!r} is registered twice; choose another name")
            self._entries[entry_name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """Returns the object of that name; ``ConfigError`` with the nearest names when there is none."""
        if name not in self._entries:
            import_project_modules()
        if name not in self._entries:
            hint = did_you_mean(name, {n: n for n in self}, otherwise=f"known: {', '.join(sorted(self))}")
            raise ConfigError(f"{self.key} = {name!r}: there is no {self.kind} of that name; {hint}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


@dataclass(frozen=True)
class Project:
    """What a project tells the framework about itself. Must be importable without torch.

    Attributes:
        name: for messages.
        add_config: adds the project's keys to the default configuration in place.
        aliases: old dotted key -> dotted key of today, for files and overrides of the original.
        obsolete: dotted keys or sections of the original that mean nothing here; accepted with a warning.
        check: returns the problems of a merged configuration, one sentence each.
        adjustable: beginnings of the project's dotted keys that may change in the middle of a run; a change
            of any other makes another run of it.
        modules: imported before a model or a data set is looked up, so that they register themselves.
        configs: package that holds the configs which the project ships, found by name; empty: none.
        analyses: sub-command of ``tools/analyze.py`` -> module, see ``slowfast.cli.analyze``.
    """

    name: str
    add_config: Callable[[Any], None]
    aliases: Mapping[str, str] = field(default_factory=dict)
    obsolete: tuple[str, ...] = ()
    check: Callable[[Any], list[str]] = lambda cfg: []
    adjustable: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    configs: str = ""
    analyses: Mapping[str, str] = field(default_factory=dict)


# The framework's own networks come in through the same door, installed or not.
_BUILT_IN = EntryPoint("slowfast", "slowfast.models.pytorchvideo.config:PROJECT", "slowfast.projects")
_not_installed: list[EntryPoint] = []


def announce_project(name: str, value: str) -> None:
    """Makes a project known that is not installed; call it before a configuration is loaded.

    Args:
        name: name of the project's entry point.
        value: ``module:OBJECT`` of the :class:`Project`, as in an entry point.
    """
    _not_installed.append(EntryPoint(name, value, "slowfast.projects"))
    projects.cache_clear()


@cache
def projects() -> tuple[Project, ...]:
    """All projects, built in, installed or announced, ordered by name."""
    entries = (_BUILT_IN, *_not_installed, *entry_points(group="slowfast.projects"))
    found = {entry.name: entry for entry in entries}
    return tuple(sorted((entry.load() for entry in found.values()), key=lambda project: project.name))


@cache
def import_project_modules() -> None:
    """Imports the modules that register the projects' models and data sets."""
    for project in projects():
        for module in project.modules:
            importlib.import_module(module)


def import_user_modules(modules: Sequence[str]) -> None:
    """Imports what a user names in ``IMPORTS``, so that it registers itself.

    Args:
        modules: names of modules, or paths of Python files, whose folders become importable, too.

    Raises:
        ConfigError: where there is none of that name, or it fails while it is imported.
    """
    for module in modules:
        name = module
        if module.endswith(".py"):
            path = Path(module).absolute()
            name = path.stem
            if str(path.parent) not in sys.path:
                sys.path.append(str(path.parent))
        try:
            imported = importlib.import_module(name)
        except Exception as error:  # whatever the user's code does
            frame = traceback.extract_tb(error.__traceback__)[-1]
            inside = "" if "importlib" in frame.filename else f" in {frame.filename}, line {frame.lineno}"
            raise ConfigError(
                f"IMPORTS = {module!r}: cannot be imported{inside} ({type(error).__name__}: {error}); "
                "name a module, or a Python file relative to where the run is started"
            ) from error
        file = getattr(imported, "__file__", None)
        if module.endswith(".py") and (file is None or Path(file).resolve() != path.resolve()):
            raise ConfigError(
                f"IMPORTS = {module!r}: another module is called {name} ({file}); choose another name"
            )
