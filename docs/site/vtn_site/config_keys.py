"""The tables of all configuration keys, from the assignments and comments of the modules that define them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vtn_site.repository_pages import ROOT

MODULES = (
    *sorted(ROOT.glob("slowfast/config/defaults/*.py")),
    ROOT / "slowfast/models/pytorchvideo/config.py",
    ROOT / "projects/vtn/vtn/config/defaults.py",
)
_ASSIGNMENT = re.compile(r"^ *(?:KEYS|cfg)\.([A-Z0-9_.]+) = (.+)$")
_COMMENT = re.compile(r"^ *# (?!-{3})(.*)$")


@dataclass(frozen=True)
class Key:
    """A configuration key: its dotted name, its default as code, and the comment above it."""

    name: str
    default: str
    comment: str

    @property
    def is_section(self) -> bool:
        """Whether the key is a section of other keys with fixed names."""
        return self.default == "CfgNode()"


def read_keys(path: Path) -> Iterator[Key]:
    """Yields all keys of a module; a comment above several keys is that of the first."""
    comment: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _COMMENT.match(line):
            comment.append(match[1])
        elif match := _ASSIGNMENT.match(line):
            yield Key(match[1], match[2].replace("CfgNode(new_allowed=True)", "{}"), " ".join(comment))
            comment = []
        else:
            comment = []


def key_tables() -> str:
    """Returns Markdown with a heading and a table for each section of keys."""
    sections: dict[str, list[Key]] = {}
    texts: dict[str, str] = {}
    for key in (key for path in MODULES for key in read_keys(path)):
        if key.is_section:
            texts[key.name] = key.comment
        else:
            sections.setdefault(key.name.rpartition(".")[0], []).append(key)
    parts = []
    for section, keys in sorted(sections.items()):
        rows = [f"| `{key.name}` | `{key.default}` | {key.comment} |".replace("*", r"\*") for key in keys]
        text = texts.get(section, "").replace("*", r"\*")
        heading = section or "Top level"
        parts += [f"## {heading}\n\n{text}\n\n| key | default | meaning |\n| --- | --- | --- |", *rows, ""]
    return "\n".join(parts)
