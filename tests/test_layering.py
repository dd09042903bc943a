"""The seam between framework and projects, and between configuration and code, proven on the sources."""

import ast
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
    **{f"VTN.BACKBONE.LORA.{name}": "lora_options" for name in ("RANK", "ALPHA", "DROPOUT", "TARGETS")},
}
# Frames have three channels; the key is there for PySlowFast's files, and its value is checked.
ONLY_CHECKED = {"DATA.INPUT_CHANNEL_NUM"}


@pytest.mark.parametrize("path", FRAMEWORK, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_framework_names_no_project(path: Path) -> None:
    """Comments and docstrings may tell a history; code and messages may not know a project."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    naming = [
        f"line {node.lineno}: {text}"
        for node in ast.walk(tree)
        if id(node) not in docstrings
        for text in _names_and_texts(node)
        if "vtn" in text.lower()
    ]
    assert naming == []


def _names_and_texts(node: ast.AST) -> list[str]:
    """Returns what a node names: a module, a variable, an attribute, or a text."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names):
            return [module or "", *(alias.name for alias in names)]
        case ast.Constant(value=str(text)) | ast.Name(id=text) | ast.Attribute(attr=text):
            return [text]
        case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.arg(arg=text):
            return [text]
    return []


def test_every_key_is_read_somewhere() -> None:
    chains: set[str] = set()
    names: set[str] = set()
    for path in READERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        variables = _variables(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Subscript):
                chains |= _chains(node, variables)
            elif isinstance(node, ast.Name):
                names.add(node.id)
    unread = [
        key
        for key in _leaves(get_default_config())
        if not any(chain.endswith("." + key) for chain in chains)
        and READ_BY_FUNCTIONS.get(key) not in names
        and key not in ONLY_CHECKED
    ]
    assert unread == []


def _leaves(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        if isinstance(value, CfgNode) and not value.is_new_allowed():
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _variables(tree: ast.AST) -> dict[str, set[str]]:
    """Returns variable -> what it may stand for, for assignments such as ``data = cfg.DATA``."""
    variables: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target, value in _pairs(node.targets[0], node.value):
                variables[target] = variables.get(target, set()) | _chains(value, variables)
    return variables


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(value, ast.IfExp):
        yield from _pairs(target, value.body)
        yield from _pairs(target, value.orelse)
    elif isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one_target, one_value in zip(target.elts, value.elts, strict=False):
            yield from _pairs(one_target, one_value)


def _chains(node: ast.expr, variables: dict[str, set[str]]) -> set[str]:
    """Returns ``cfg.DATA.MEAN`` for that expression, with variables replaced by what they may stand for."""
    match node:
        case (
            ast.Attribute(value=inner, attr=name) | ast.Subscript(value=inner, slice=ast.Constant(value=name))
        ):
            return {f"{chain}.{name}" for chain in _chains(inner, variables)}
        case ast.Name(id=name):
            return variables.get(name) or {name}
    return set()
