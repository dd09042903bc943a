"""Places: imports run one way between packages, and few modules share a folder."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.code.sources import parsed

ROOT = Path(__file__).parents[1]
SOURCES = {"slowfast": ROOT / "slowfast", "vtn": ROOT / "projects" / "vtn" / "vtn"}

# A package or module may import what stands before it, and what stands in the same line.
ORDER: tuple[tuple[str, ...], ...] = (
    (
        "slowfast",
        "slowfast.errors",
        "slowfast.exit_status",
        "slowfast.files",
        "slowfast.interrupt",
        "slowfast.tracing",
        "slowfast.log",
        "slowfast.metrics",
        "slowfast.progress",
        "slowfast.registry",
    ),
    ("slowfast.cli.options",),
    ("slowfast.config",),
    ("slowfast.timing",),
    ("slowfast.video",),
    ("slowfast.models.capabilities", "slowfast.models.clip_grid"),  # descriptions of models alone
    ("slowfast.distributed",),
    ("slowfast.solver",),
    ("slowfast.datasets",),
    ("slowfast.features",),
    ("slowfast.models",),
    ("slowfast.checkpoint",),
    ("slowfast.tracking",),
    ("slowfast.engine",),
    ("slowfast.extraction",),
    ("slowfast.preparation",),
    ("slowfast.visualization",),
    ("slowfast.probe",),
    ("slowfast.analysis",),
    ("slowfast.cli",),
    ("vtn", "vtn.transformers.registration"),  # names its classes by text, as an entry point
    ("vtn.config",),
    ("vtn.arguments",),
    ("vtn.project",),
    ("vtn.encoder",),
    ("vtn.head",),
    ("vtn.backbones",),
    ("vtn.folder",),
    ("vtn.hub",),
    ("vtn.frame_model",),
    ("vtn.attentive_probe", "vtn.frame_average", "vtn.model"),
    ("vtn.publishing",),
    ("vtn.factory",),
    ("vtn.inference",),
    ("vtn.explaining",),
    ("vtn.exported",),
    ("vtn.predictor",),
    ("vtn.serving",),
    ("vtn.exporting",),
    ("vtn.transformers",),
    ("vtn.probing",),
    ("vtn.quickstart",),
    ("vtn.analysis",),
    ("vtn.cli",),
)
PLACES = {name: place for place, names in enumerate(ORDER) for name in names}
MAX_ROOT_MODULES, MAX_FILES = 8, 12


def _modules() -> dict[str, Path]:
    """Returns dotted name -> file of all modules of both packages."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = _modules()


def _place(module: str) -> int:
    """Returns the place in ``ORDER`` of the longest listed name that ``module`` begins with."""
    name = module
    while name not in PLACES and "." in name:
        name = name.rpartition(".")[0]
    if name in SOURCES and module != name:
        raise KeyError(f"{module} stands in no line of ORDER; add its package where it belongs")
    return PLACES[name]


def _imports(path: Path, *, with_types: bool = True) -> Iterator[tuple[int, str]]:
    """Yields (line, module) of all imports of our packages, those inside functions included.

    Args:
        path: file of the module.
        with_types: False leaves out imports that run in type checkers only.
    """
    tree = parsed(path)
    skipped = set() if with_types else {id(node) for block in _type_blocks(tree) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            ]
        else:
            continue
        for name in names:
            if name.split(".")[0] in SOURCES:
                yield node.lineno, name


def _type_blocks(tree: ast.AST) -> Iterator[ast.If]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield node


def test_imports_run_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}, which stands later in ORDER"
        for module, path in MODULES.items()
        for line, target in _imports(path)
        if _place(target) > _place(module)
    ]
    assert wrong == []


def test_imports_form_no_cycle() -> None:
    """Imports inside functions count, too: an import moved there to hide a cycle is still one."""
    graph = {
        module: {target for _, target in _imports(path, with_types=False)} - {module}
        for module, path in MODULES.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_a_folder_has_few_files() -> None:
    # `tools` has one file per command, by a path that users type.
    roots = (*SOURCES.values(), ROOT / "tests", ROOT / "benchmarks")
    files = [path for root in roots for path in root.rglob("*.py") if path.name != "__init__.py"]
    counts = Counter(path.parent for path in files)
    most = {**dict.fromkeys(counts, MAX_FILES), **dict.fromkeys(SOURCES.values(), MAX_ROOT_MODULES)}
    assert [(folder, number) for folder, number in counts.items() if number > most[folder]] == []


def test_every_package_is_installed() -> None:
    """pyproject.toml lists the packages by hand, since two folders differ from their import names."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert present <= set(listed)
