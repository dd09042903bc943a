"""Merging settings into the default configuration; all problems are collected instead of raised."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from fvcore.common.config import CfgNode

from slowfast.config import obsolete
from slowfast.config.values import convert, parse_literal, value_of
from slowfast.config.yaml_file import YamlEntry, entries_of
from slowfast.errors import shown
from slowfast.registry import Project

# Keys whose default is a whole number, as in PySlowFast, and which also take fractions.
_FRACTIONS = frozenset({"DATA.TARGET_FPS"})
# Problems after which nearest keys are not searched any more.
_MOST_SUGGESTIONS = 100


Overrides: TypeAlias = Sequence[object] | Mapping[str, object]
"""``["KEY", VALUE, …]``, or a mapping of dotted keys to values."""


def as_pairs(overrides: Overrides) -> list[object]:
    """Returns overrides as ``["KEY", VALUE, …]``."""
    return [*itertools.chain(*overrides.items())] if isinstance(overrides, Mapping) else [*overrides]


class Merge:
    """A configuration into which files and overrides are merged one after another.

    Args:
        cfg: the defaults; changed in place.
        projects: the projects whose older names of keys are accepted.

    Attributes:
        problems: the problems so far, one sentence each.
        ignored: keys of PySlowFast that were given but are not read here, in the order given.
        fixed: given keys of PySlowFast of which this program has one value -> the entry given last.
        replaced: keys that were given a value of PySlowFast in whose place another one is used -> the entry
            given last.
        failed: keys (current names) that kept an earlier value because their setting was refused.
        origins: dotted key -> place of its setting, for the keys that were set.
    """

    def __init__(self, cfg: CfgNode, projects: Sequence[Project]) -> None:
        self.cfg = cfg
        self._defaults = cfg.clone()
        self.problems: list[str] = []
        self.ignored: list[str] = []
        self.fixed: dict[str, YamlEntry] = {}
        self.replaced: dict[str, YamlEntry] = {}
        self.failed: set[str] = set()
        self.origins: dict[str, str] = {}
        self._aliases = {old: new for project in projects for old, new in project.aliases.items()}
        self._obsolete = obsolete.SECTIONS.union(obsolete.KEYS, *(project.obsolete for project in projects))
        self._fixed = {**obsolete.FIXED_KEYS}
        for project in projects:
            self._fixed.update(project.fixed_keys)
        self._known = [*_dotted_keys(cfg), *self._aliases]
        self._sections = [key for key in self._known if isinstance(_find(cfg, key), CfgNode)]

    def add_entries(self, entries: Iterable[YamlEntry]) -> None:
        """Merges the entries of one file; two different values for one key are a problem."""
        given: dict[str, tuple[str, YamlEntry]] = {}
        for written, entry in self._leaves(entries, ""):
            key = self._aliases.get(written, written)
            if key in given and given[key][1].value != entry.value:
                earlier = f"{given[key][0]} ({given[key][1].where}) = {shown(given[key][1].value)}"
                last = ", of which PySlowFast takes the last one" if given[key][0] == written else ""
                self._fail(key, written, entry, f"contradicts {earlier}; keep one of them{last}")
                continue
            given[key] = (written, entry)
            self._set(key, written, entry)

    def add_overrides(self, given: Overrides) -> bool:
        """Merges overrides ``KEY VALUE KEY VALUE …``; returns False, without a merge, if not pairs."""
        overrides = [str(one) for one in as_pairs(given)]
        joined = [text for text in overrides if self._is_joined(text)]
        if joined:
            pairs = " ".join(text.replace("=", " ", 1) for text in joined)
            self.problems.append(
                f"overrides = {shown(' '.join(joined))}: must be written without =, as {pairs}"
            )
            return False
        if len(overrides) % 2:
            self.problems.append(
                f"overrides = {shown(' '.join(overrides))}: must be pairs, and {overrides[-1]} has no value; "
                "write KEY VALUE KEY VALUE …, and put a value of several words in quotes"
            )
            return False
        for written, text in zip(overrides[::2], overrides[1::2], strict=True):
            value = parse_literal(text)
            children = entries_of(value, "override") if isinstance(value, Mapping) else None
            default = _find(self.cfg, self._aliases.get(written, written))
            if isinstance(default, str) and not _is_quoted(text, value):
                value = "" if (value is None and default == "") else text
            entry = YamlEntry(written, value, "override", children)
            for dotted, leaf in self._leaves([entry], ""):
                self._set(self._aliases.get(dotted, dotted), dotted, leaf)
        return True

    def _is_joined(self, text: str) -> bool:
        """Returns whether ``text`` is ``KEY=VALUE`` with a known key, as other programs write overrides."""
        key, sign, _ = text.partition("=")
        key = self._aliases.get(key, key)
        return bool(sign) and (_find(self.cfg, key) is not None or self._is_free(key))

    def _leaves(self, entries: Iterable[YamlEntry], prefix: str) -> Iterator[tuple[str, YamlEntry]]:
        """Yields (dotted key as written, entry) of all values, and of sections given a plain value."""
        for entry in entries:
            written = prefix + entry.name
            if self._is_obsolete(written):
                self._note_unread(written, entry)
                continue
            node = _find(self.cfg, self._aliases.get(written, written))
            is_section = isinstance(node, CfgNode) or (node is None and self._is_free(written))
            if is_section and entry.children:
                yield from self._leaves(entry.children, written + ".")
            elif isinstance(node, CfgNode) and (entry.value is None or entry.value == {}):
                if entry.value == {} and node.is_new_allowed():
                    node.clear()  # {} removes the free keys of a base; other sections keep their keys
            else:
                yield written, entry

    def _note_unread(self, written: str, entry: YamlEntry) -> None:
        """Records an obsolete key, and each key with one value in an obsolete section."""
        within = {key: leaf for key, leaf in _nested(entry, written) if key in self._fixed}
        self.fixed.update(within)
        if written not in within:
            self.ignored.append(written + (".*" if entry.children else ""))

    def check_fixed_keys(self) -> list[str]:
        """Adds the problems of keys whose value is refused; returns the differences of the other values."""
        differences: list[str] = []
        refused: dict[str, list[str]] = {}
        for key, entry in self.fixed.items():
            fixed = self._fixed[key]
            if fixed.accepts(entry.value) or not fixed.applies(self.cfg):
                continue
            given = f"{key} ({entry.where}) = {shown(entry.value)}"
            if fixed.is_refused:
                refused.setdefault(fixed.reason, []).append(f"{given}: must be {fixed.value!r}")
            else:
                differences.append(f"{given}: {fixed.reason}")
        self.problems += [f"{', '.join(given)}, since {reason}" for reason, given in refused.items()]
        for key, entry in self.replaced.items():
            differences.append(
                f"{key} ({entry.where}) = {shown(entry.value)}: {_find(self.cfg, key)} is used"
            )
        return differences

    def _set(self, key: str, written: str, entry: YamlEntry) -> None:
        """Sets ``key`` to the value of ``entry``, or records the problem; ``written`` is the key as given."""
        section, _, leaf = key.rpartition(".")
        node = _find(self.cfg, section) if section else self.cfg
        free = self._is_free(key)
        if not free and not (isinstance(node, CfgNode) and leaf in node):
            kind = "section" if entry.children else "key"
            self.problems.append(
                f"{written} ({entry.where}): unknown {kind}{self._suggestion(written, kind)}"
            )
            return
        if free:
            _set_free(self.cfg, key.split("."), entry.value)
        else:
            try:
                default = _find(self._defaults, key)
                value = self._replacement(key, entry)
                value = convert(value, float(default) if key in _FRACTIONS else default)
                is_whole = key in _FRACTIONS and value == int(value)
                node[leaf] = int(value) if is_whole else value
            except ValueError as error:
                self._fail(key, written, entry, str(error))
                return
        self.origins[key] = entry.where
        self.failed.discard(key)

    def _replacement(self, key: str, entry: YamlEntry) -> Any:
        """Returns the value that replaces one of PySlowFast, which is recorded; any other value unchanged."""
        self.replaced.pop(key, None)
        values = obsolete.VALUES.get(key, {})
        name = str(entry.value)  # None is written as null, None or 'None'
        if name not in values:
            return entry.value
        self.replaced[key] = entry
        return values[name]

    def _fail(self, key: str, written: str, entry: YamlEntry, problem: str) -> None:
        self.problems.append(f"{written} ({entry.where}) = {shown(entry.value)}: {problem}")
        self.failed.add(key)

    def _is_free(self, key: str) -> bool:
        """Returns whether ``key`` lies in a section that accepts any key."""
        parts = key.split(".")
        sections = (_find(self.cfg, ".".join(parts[:n])) for n in range(1, len(parts)))
        return any(isinstance(node, CfgNode) and node.is_new_allowed() for node in sections)

    def _is_obsolete(self, key: str) -> bool:
        parts = key.split(".")
        sections = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
        return key in self._fixed or any(section in self._obsolete for section in sections)

    def _suggestion(self, written: str, kind: str) -> str:
        """Returns the end of a message about an unknown key or section: the nearest known ones.

        A search takes 2 ms; a file that is not a configuration may have thousands of unknown keys.
        """
        leaf = written.rpartition(".")[2].upper()
        if kind == "section":
            known, cutoff = self._sections, 0.75  # nearer, since most are of models that are not here
            otherwise = "; its keys are of a model or program that is not part of this one: remove it"
        else:
            # A name with a dot is meant as a key within a section, not as a section.
            known = [key for key in self._known if "." not in written or key not in self._sections]
            cutoff, otherwise = 0.6, "; see slowfast/config/defaults and the config of each project"
        if len(self.problems) >= _MOST_SUGGESTIONS:
            return otherwise
        exact = [key for key in known if key == written.upper()]
        same_leaf = [key for key in known if key.rpartition(".")[2] == leaf]
        near = exact or same_leaf or difflib.get_close_matches(written.upper(), known, n=2, cutoff=cutoff)
        return f"; did you mean {' or '.join(near[:3])}?" if near else otherwise


def _nested(entry: YamlEntry, written: str) -> Iterator[tuple[str, YamlEntry]]:
    """Yields (dotted key, entry) of an entry and of all those within it."""
    yield written, entry
    for child in entry.children or ():
        yield from _nested(child, f"{written}.{child.name}")


def _find(cfg: CfgNode, key: str) -> Any:
    """Returns the value or section of a dotted key; None for an unknown key."""
    try:
        return value_of(cfg, key)
    except (KeyError, TypeError):  # the latter where the key continues behind a value
        return None


def _dotted_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    """Yields the dotted names of all keys and sections."""
    for name, value in cfg.items():
        yield prefix + name
        if isinstance(value, CfgNode):
            yield from _dotted_keys(value, f"{prefix}{name}.")


def _set_free(node: CfgNode, parts: Sequence[str], value: Any) -> None:
    """Sets a key in a section that accepts any key, and adds the sections on the way to it."""
    for name in parts[:-1]:
        if not isinstance(node.get(name), CfgNode):
            node[name] = CfgNode(new_allowed=True)
        node = node[name]
    if value == {}:
        value = CfgNode(new_allowed=True)
    node[parts[-1]] = list(value) if isinstance(value, tuple) else value


def _is_quoted(text: str, value: Any) -> bool:
    """Returns whether ``text`` is a quoted literal of the string ``value``."""
    return isinstance(value, str) and text[:1] in ("'", '"') and text != value
