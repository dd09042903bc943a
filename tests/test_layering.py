"""The seam between framework and projects, and between configuration and code, proven on the sources."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from slowfast.config import get_default_config

ROOT = Path(__file__).parents[1]
FRAMEWORK = sorted((ROOT / "slowfast").rglob("*.py"))
READERS = [
    path
    for folder in ("slowfast", "projects", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
    # What only declares or checks a key does not read it.
    if path.parent != ROOT / "slowfast" / "config" and path.name != "config.py"
]
# Functions of a project's config.py that read keys for others.
READ_BY_FUNCTIONS = {
    "VTN.BACKBONE.NAME": "backbone_name",
    "MODEL.ARCH": "backbone_name",
    "VTN.LONGFORMER.ATTENTION_WINDOW": "attention_windows",
}


@pytest.mark.parametrize("path", FRAMEWORK, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_framework_names_no_project(path: Path) -> None:
    """Comments may tell where a key comes from; code and texts may not know a project."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    naming = [
        f"line {token.start[0]}: {token.line.strip()}"
        for token in tokens
        if token.type != tokenize.COMMENT and token.type in (tokenize.NAME, tokenize.STRING)
        if "vtn" in token.string.lower()
    ]
    assert naming == []


def test_every_key_is_read_somewhere() -> None:
    chains: set[str] = set()
    names: set[str] = set()
    for path in READERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        sections = _sections_by_name(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Subscript):
                chains.add(_chain(node, sections))
            elif isinstance(node, ast.Name):
                names.add(node.id)
    unread = [
        key
        for key in _leaves(get_default_config())
        if not any(chain == key or chain.endswith("." + key) for chain in chains)
        and READ_BY_FUNCTIONS.get(key) not in names
    ]
    assert unread == []


def _leaves(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        if isinstance(value, CfgNode) and not value.is_new_allowed():
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _sections_by_name(tree: ast.AST) -> dict[str, str]:
    """Returns variable -> what it stands for, for assignments such as ``data = cfg.DATA``."""
    sections: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target, value in _pairs(node.targets[0], node.value):
                sections[target] = _chain(value, sections)
    return sections


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one_target, one_value in zip(target.elts, value.elts, strict=False):
            yield from _pairs(one_target, one_value)


def _chain(node: ast.expr, sections: dict[str, str]) -> str:
    """Returns ``cfg.DATA.MEAN`` for that expression, with variables replaced by what they stand for."""
    if isinstance(node, ast.Attribute):
        return f"{_chain(node.value, sections)}.{node.attr}"
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return f"{_chain(node.value, sections)}.{node.slice.value}"
    if isinstance(node, ast.Name):
        return sections.get(node.id, node.id)
    return "?"
