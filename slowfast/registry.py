"""Registries of named components, and the projects that extend the framework.

A name in the configuration, such as ``SOLVER.LR_POLICY``, chooses an entry of a registry. Users add entries
in a file of their own, which ``IMPORTS`` names; projects add them in the modules of their :class:`Project`,
which the entry-point group ``slowfast.projects`` announces. Neither needs a change in the framework.

Why not ``fvcore.common.registry``: it knows no config key, suggests no names, and cannot import the modules
that register an entry when a name is first looked up.
"""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from slowfast.errors import ConfigError, did_you_mean, place_of, shown

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

T = TypeVar("T")
Entry = TypeVar("Entry")

REGISTRY_OF_KEY: Mapping[str, str] = {
    "SOLVER.LR_POLICY": "slowfast.solver.lr_policy:LR_POLICY_REGISTRY",
    "SOLVER.OPTIMIZING_METHOD": "slowfast.solver.optimizer:OPTIMIZER_REGISTRY",
    "MODEL.LOSS_FUNC": "slowfast.models.losses:LOSS_REGISTRY",
    "LOSS.CLASS_WEIGHTS": "slowfast.models.objective.class_weights:CLASS_WEIGHT_REGISTRY",
    "MODEL.HEAD_ACT": "slowfast.models.score_activations:SCORE_ACTIVATION_REGISTRY",
    "TRACKERS": "slowfast.tracking.kinds:TRACKER_REGISTRY",
    "DATA_LOADER.TRAIN_SAMPLER": "slowfast.datasets.loading.samplers:SAMPLER_REGISTRY",
}
"""Config key -> ``module:REGISTRY`` of the registry that its value is checked against.

The module also registers the built-in entries. Importing it must not import torch, since these names are
checked whenever a configuration is loaded.
"""

REGISTRY_OF_RUN_KEY: Mapping[str, str] = {
    "MODEL.MODEL_NAME": "slowfast.models.build:MODEL_REGISTRY",
    "TRAIN.DATASET": "slowfast.datasets.build:DATASET_REGISTRY",
    "TEST.DATASET": "slowfast.datasets.build:DATASET_REGISTRY",
}
"""The same for keys that are checked before a run alone, since their modules import torch."""


@dataclass(eq=False)
class Registry(Generic[T]):
    """A table of named components of one kind, filled by a decorator.

    Args:
        kind: the kind of component, for messages ("model", "data set").
        key: the config key whose value is a name in this registry, for messages.
        foreign: well-known names of other frameworks that this registry may lack, in lower case -> the remedy
            for messages, in place of similar names, which may be of another thing.
        arguments: the names with which an entry is called, ``name=`` for one by keyword. A last one with
            ``**`` names the key that sets keyword-only parameters. Empty: entries are not checked.

    >>> greetings = Registry("greeting", "DEMO.GREETING")
    >>> @greetings.register()
    ... def polite(name: str) -> str:
    ...     return f"Good morning, {name}"
    >>> greetings.get("polite")("Ada")
    'Good morning, Ada'
    >>> sorted(greetings), "rude" in greetings
    (['polite'], False)
    """

    kind: str
    key: str
    foreign: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    _entries: dict[str, T] = field(default_factory=dict, init=False, repr=False)

    def register(self, name: str | None = None) -> Callable[[Entry], Entry]:
        """Returns a decorator that registers its object under ``name`` (default: its ``__name__``).

        Raises:
            ConfigError: where another object is registered under that name, or it cannot be called as this
                registry's entries are. For a file of ``IMPORTS`` the message gets the file and the line.
        """
        if not (name is None or isinstance(name, str)):
            raise ConfigError(f"{self.kind} {name!r}: must be registered by @….register(), with parentheses")

        def add(entry: Entry) -> Entry:
            entry_name = name or entry.__name__  # type: ignore[attr-defined]
            if self.arguments:
                self.require_call(entry, entry_name)
            present = self._entries.setdefault(entry_name, cast(T, entry))
            if present is not cast(T, entry):
                raise ConfigError(f"{self.kind} {entry_name!r}: is already registered; choose another name")
            return entry

        return add

    def require_call(self, entry: Any, name: str) -> None:
        """Checks that an entry can be called with the arguments of this registry.

        Raises:
            ConfigError: otherwise; names the arguments.
        """
        by_name = [argument[:-1] for argument in self.arguments if argument.endswith("=")]
        given = [argument for argument in self.arguments if not argument.startswith("**")]
        try:
            signature = inspect.signature(entry)
            if len(given) < len(self.arguments):
                by_name += [own for own, one in signature.parameters.items() if one.kind is one.KEYWORD_ONLY]
            signature.bind(*(name for name in given if not name.endswith("=")), **dict.fromkeys(by_name))
        except TypeError as error:
            raise ConfigError(
                f"{self.kind} {name!r}: must be callable as {name}({', '.join(self.arguments)}) ({error}); "
                "change its parameters"
            ) from error
        except ValueError:  # functions written in C have no signature
            return

    def get(self, name: str, key: str = "") -> T:
        """Returns the object registered under ``name``; imports the projects' modules where it is unknown.

        Args:
            key: the config key that chooses it, for the message; empty: that of the registry.

        Raises:
            ConfigError: for an unknown name, with its remedy in ``foreign``, the nearest names or else all.
        """
        if name not in self._entries:
            import_project_modules()
        if name not in self._entries:
            hint = self.foreign.get(name.lower()) or did_you_mean(
                name, [*self], otherwise=f"choose one of {', '.join(self)}"
            )
            raise ConfigError(f"{key or self.key} = {shown(name)}: must be a registered {self.kind}; {hint}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


def registry_of(key: str) -> Registry[Any]:
    """Returns the registry that the value of a config key is looked up in."""
    registry: Registry[Any] = pkgutil.resolve_name({**REGISTRY_OF_KEY, **REGISTRY_OF_RUN_KEY}[key])
    return registry


@dataclass(frozen=True)
class Project:
    """The hooks by which a project extends the framework. Its module must be importable without torch.

    Attributes:
        name: the project's name, for messages and for ``PROJECT/NAME`` of its configurations.
        add_config: adds the project's keys to the default configuration in place.
        aliases: old dotted key -> current dotted key, for files and overrides of the original.
        obsolete: dotted keys or sections of the original that are not read; accepted with a warning.
        fixed_keys: dotted key of the original -> its only value, a ``slowfast.config.obsolete.FixedKey``.
        check: returns the problems of a merged configuration, one sentence each.
        adjustable: prefixes of the project's dotted keys that may change when a run is resumed; a change of
            any other of its keys makes it another run.
        modules: modules that register the project's components; imported before an unknown name is refused.
        configs: package of the configurations that the project ships, found by name; empty: none.
        analyses: sub-command of ``slowfast analyze`` -> module, see ``slowfast.cli.analyze``.
        commands: sub-command of ``slowfast`` -> module, see ``slowfast.cli.commands``.
        probe: module of candidates for ``slowfast probe``, see ``slowfast.probe.candidate.CandidateSource``;
            empty: the project has none.
        weights: module with a function ``find_weights(cfg)``, see ``slowfast.checkpoint.needed_weights``;
            empty: the project's models start from random weights or from a checkpoint of a run.
    """

    name: str
    add_config: Callable[[CfgNode], None]
    aliases: Mapping[str, str] = field(default_factory=dict)
    obsolete: tuple[str, ...] = ()
    fixed_keys: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[CfgNode], list[str]] = lambda cfg: []
    adjustable: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    configs: str = ""
    analyses: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    probe: str = ""
    weights: str = ""


DISTRIBUTION = "slowfast-vtn"
"""Name of this program as an installed package."""
_GROUP = "slowfast.projects"
_ROOT = Path(__file__).parents[1]  # of a checkout, or of all installed packages
# The framework's own networks are a project too; it is known even where the package is not installed.
_BUILT_IN = EntryPoint("slowfast", "slowfast.models.pytorchvideo.config:PROJECT", _GROUP)


@cache
def checkout_settings(folder: Path = _ROOT) -> Mapping[str, Any]:
    """Returns the content of a checkout's ``pyproject.toml``; empty for the folder of an installed copy.

    A checkout may be imported without being installed, or be newer than what its installation has recorded.
    """
    file = folder / "pyproject.toml"
    if not ((folder / "projects").is_dir() and file.is_file()):
        return {}
    return tomllib.loads(file.read_text(encoding="utf-8"))


def find_package(name: str) -> Path | None:
    """Returns the folder of a package of data, installed or in a checkout; None where it is in neither."""
    try:
        return Path(str(resources.files(name)))
    except ModuleNotFoundError:
        setuptools = checkout_settings().get("tool", {}).get("setuptools", {})
        folder = setuptools.get("package-dir", {}).get(name)
        return _ROOT / folder if folder else None


@cache
def projects() -> tuple[Project, ...]:
    """Returns all projects, whether built in, installed, or importable from a checkout, ordered by name.

    Those of this program come first, so that the hooks of any other project can change their keys.
    """
    found = {entry.name: entry for entry in (_BUILT_IN, *entry_points(group=_GROUP))}
    declared = checkout_settings().get("project", {}).get("entry-points", {}).get(_GROUP, {})
    for name, value in declared.items():
        if name not in found and importlib.util.find_spec(value.partition(".")[0]) is not None:
            found[name] = EntryPoint(name, value, _GROUP)
    others = {name for name, entry in found.items() if entry.dist and entry.dist.name != DISTRIBUTION}
    order = sorted(found, key=lambda name: (name in others, found[name].load().name))
    return tuple(found[name].load() for name in order)


@cache
def import_project_modules() -> None:
    """Imports the modules that register the projects' components."""
    for project in projects():
        for module in project.modules:
            importlib.import_module(module)


def import_user_modules(modules: Sequence[str]) -> None:
    """Imports the modules that a user names in ``IMPORTS``, so that they register their components.

    Args:
        modules: names of modules, or paths of Python files. The folder of such a file is put on ``sys.path``.

    Raises:
        ConfigError: for a module that does not exist or fails while it is imported, with the file and line.
    """
    for module in modules:
        if module.endswith(".py"):
            _import_file(module)
        else:
            _import(module, module)


def _import_file(written: str) -> None:
    """Imports a Python file by its path, under its own name."""
    path = Path(written).absolute()
    if not path.is_file():
        raise ConfigError(
            f"IMPORTS = {written!r}: must be an existing file; give a path relative to {Path.cwd()}, "
            "the folder in which the run is started"
        )
    if "." in path.stem:
        raise ConfigError(f"IMPORTS = {written!r}: must have no further dot in its name; rename the file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    _import(written, path.stem)
    imported = getattr(sys.modules[path.stem], "__file__", None)
    if imported is None or Path(imported).resolve() != path.resolve():
        raise ConfigError(
            f"IMPORTS = {written!r}: another module is called {path.stem} ({imported}); rename the file"
        )


def _import(written: str, name: str) -> None:
    """Imports a module; reports any failure of its code under the name that the user has written."""
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        known = "; ".join(error.problems) if isinstance(error, ConfigError) else ""
        raise ConfigError(
            f"IMPORTS = {written!r}: cannot be imported{place_of(error.__traceback__)} "
            f"({known or f'{type(error).__name__}: {error}'}); "
            "fix the module, or name another module or Python file"
        ) from error
