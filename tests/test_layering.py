"""The framework does not depend on projects, and code does not depend on the configuration.

Both are checked on the sources.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.config import get_default_config
from tests.support.code.sources import parsed

ROOT = Path(__file__).parents[1]
READERS = [
    path
    for folder in ("slowfast", "projects", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
    # Declaring or checking a key is not reading it.
    if not {"config", "config.py"} & set(path.relative_to(ROOT).parts)
]
# Functions of a config package that return the value of a key.
READ_BY_FUNCTIONS = {
    "AUG.NUM_SAMPLE": "clips_per_video",
    "TENSORBOARD.ENABLE": "tracker_names",
    "TRACKERS": "tracker_names",
    "TEST.DATASET": "dataset_name",
    "TRAIN.DATASET": "dataset_name",
    "VTN.BACKBONE.NAME": "backbone_name",
    "MODEL.ARCH": "backbone_name",
    "VTN.LONGFORMER.ATTENTION_WINDOW": "attention_windows",
    **{f"VTN.BACKBONE.LORA.{name}": "lora_options" for name in ("RANK", "ALPHA", "DROPOUT", "TARGETS")},
}
# Frames have three channels, and runs read no camera; the keys exist for PySlowFast's files, and their values
# are checked.
ONLY_CHECKED = {"DATA.INPUT_CHANNEL_NUM", "DEMO.WEBCAM"}


def test_the_framework_names_no_project() -> None:
    """Docstrings and comments may mention a project; code and messages must not."""
    naming = []
    for path in sorted((ROOT / "slowfast").rglob("*.py")):
        nodes = [*ast.walk(parsed(path))]
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        naming += [
            f"{path.relative_to(ROOT)}:{node.lineno}: {text}"
            for node in nodes
            if id(node) not in docstrings
            for text in _names_and_texts(node)
            if "vtn" in text.lower().replace("slowfast-vtn", "")  # the distribution, which has both
        ]
    assert naming == []


def _names_and_texts(node: ast.AST) -> list[str]:
    """Returns the names and texts of a node: of a module, a variable, an attribute, or a string."""
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
        tree = parsed(path)
        variables = _variables(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Subscript):
                chains |= _chains(node, variables)
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setting":
                chains.add(
                    f"cfg.{ast.literal_eval(node.args[1])}"
                )  # a field that `from_config` reads by its key
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
    """Returns variable -> expressions that it may be assigned, such as ``data = cfg.DATA``."""
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
    """Returns ``cfg.DATA.MEAN`` for that expression, with variables replaced by what is assigned to them."""
    match node:
        case (
            ast.Attribute(value=inner, attr=name) | ast.Subscript(value=inner, slice=ast.Constant(value=name))
        ):
            return {f"{chain}.{name}" for chain in _chains(inner, variables)}
        case ast.Name(id=name):
            return variables.get(name) or {name}
    return set()


# A configuration is read where objects are built. Functions whose names begin like this may take one, and so
# may the functions, modules and packages in DOORS, which has the reason for each of them.
DOOR_NAMES = ("build", "from_config", "check")
DOORS = {
    "slowfast.analysis.flops.views_of_test": "a number that a command measures",
    "slowfast.checkpoint.needed_weights.find_needed_weights": "reads the keys that name weights",
    "slowfast.checkpoint.resume.choose_global_batch": "compares it with the one of the checkpoint",
    "slowfast.config": "declares, merges and checks configurations",
    "slowfast.datasets.build": "builds data sets",
    "slowfast.datasets.loading.loader.construct_loader": "PySlowFast's name of build_loader",
    "slowfast.engine.demo.run": "starts a demonstration",
    "slowfast.engine.dry_run": "starts a run",
    "slowfast.engine.run": "starts a run",
    "slowfast.engine.run_model.find_tested_weights": "reads the keys that name weights",
    "slowfast.engine.testing.order_report.run_order_tests": "starts tests",
    "slowfast.engine.testing.run": "starts a test",
    "slowfast.engine.training.build": "builds a training run",
    "slowfast.engine.training.train_loop.train": "starts a training",
    "slowfast.extraction.extract.extract_features": "starts an extraction",
    "slowfast.models.frame_format": "completes a configuration with the frame format of a model",
    "slowfast.models.pytorchvideo.clip_network.clip_options": "arguments that several from_config share",
    "slowfast.models.pytorchvideo.config": "declares keys",
    "slowfast.models.pytorchvideo.resnets._resnet_options": "arguments that several from_config share",
    "slowfast.probe": "a candidate of a search is a configuration",
    "slowfast.solver.ema.evaluates_average": "a choice that builders share",
    "slowfast.solver.lr_policy.lr_scale": "a number that builders share",
    "vtn.backbones.at_hand.find_weights": "reads the keys that name weights",
    "vtn.backbones.detectron2_models": "configurations of detectron2",
    "vtn.config": "declares and checks keys",
    "vtn.probing": "proposes configurations",
}
PACKAGES = {"slowfast": ROOT / "slowfast", "vtn": ROOT / "projects" / "vtn" / "vtn"}


def _functions_with_a_configuration() -> Iterator[str]:
    """Yields the dotted names of functions and methods that take a configuration."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            module = ".".join([package, *(part for part in parts if part != "__init__")])
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _takes_configuration(node):
                    yield f"{module}.{node.name}"


def _takes_configuration(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = function.args
    return any(
        argument.arg == "cfg" or (argument.annotation and "CfgNode" in ast.unparse(argument.annotation))
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    )


def _door_of(function: str) -> str | None:
    """Returns the entry of ``DOORS`` that a function belongs to."""
    name = function
    while name not in DOORS and "." in name:
        name = name.rpartition(".")[0]
    return name if name in DOORS else None


def test_a_configuration_is_read_by_builders_only() -> None:
    """Everything else takes plain arguments, and can be used and tested without a configuration."""
    others = [
        function
        for function in _functions_with_a_configuration()
        if not function.rpartition(".")[2].lstrip("_").startswith(DOOR_NAMES) and not _door_of(function)
    ]
    assert others == []


def test_each_exception_is_needed_and_they_are_sorted() -> None:
    assert {door for function in _functions_with_a_configuration() if (door := _door_of(function))} == {
        *DOORS
    }
    assert [*DOORS] == sorted(DOORS)
