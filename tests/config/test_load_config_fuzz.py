"""Arbitrary files and command lines: a valid mapping loads, an invalid one is refused with its key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import CfgNode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from slowfast.config import get_default_config, load_config
from slowfast.errors import ConfigError
from slowfast.models.losses import LOSS_REGISTRY

SETTINGS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
SECTIONS = ["TRAIN", "DATA", "SOLVER", "VTN", "VTN.BACKBONE.ARGS", "AUG", "_BASE_", "NUM_GPUS", "NOTHING"]
KEYS = ["BATCH_SIZE", "STEPS", "ENABLE", "BACKBONE", "HIDDEN_DIM", "LONGFORMER", "ARGS", "MEAN", "X"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
NAMES = st.sampled_from(KEYS) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OVERRIDES = ["TRAIN.BATCH_SIZE", "SOLVER.STEPS", "VTN.ATTENTION_WINDOW", "OUTPUT_DIR"]
OVERRIDE = st.tuples(
    st.sampled_from([*SECTIONS, *OVERRIDES]) | st.text(max_size=6), st.text(max_size=8) | VALUES.map(str)
)

# A few keys of every type with values that are valid for each of them, whatever the others are.
VALID: dict[str, st.SearchStrategy[Any]] = {
    "TRAIN.BATCH_SIZE": st.integers(1, 4096),
    "TRAIN.CHECKPOINT_MINUTES": st.floats(0, 600),
    "SOLVER.BASE_LR": st.floats(1e-6, 10),
    "SOLVER.CLIP_GRAD_L2NORM": st.none() | st.floats(0.1, 10),
    "DATA.RANDOM_FLIP": st.booleans(),
    "DATA.MEAN": st.lists(st.floats(0, 1), min_size=3, max_size=3),
    "DATA.ENSEMBLE_METHOD": st.sampled_from(["sum", "max"]),
    "OUTPUT_DIR": st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
    "VTN.BACKBONE.ARGS": st.dictionaries(st.sampled_from(["depth", "width"]), st.integers()),
}
# The same kinds of keys with values that are never valid.
INVALID: dict[str, st.SearchStrategy[Any]] = {
    "TRAIN.BATCH_SIZE": st.integers(max_value=0) | st.just("many") | st.none() | st.just(1.5),
    "SOLVER.BASE_LR": st.floats(max_value=0) | st.just(float("nan")) | st.lists(st.floats()),
    "DATA.RANDOM_FLIP": st.integers() | st.just("sometimes"),
    "DATA.MEAN": st.lists(st.floats(0, 1), max_size=2) | st.just([0.5, 0.5, "red"]),
    "DATA.ENSEMBLE_METHOD": st.sampled_from(["mean", "Sum", ""]),
    "MODEL.LOSS_FUNC": st.text().filter(lambda name: name not in LOSS_REGISTRY),
    "TRAIN.NO_SUCH_KEY": VALUES,
    "NO_SUCH_SECTION": VALUES,
}
SMALL_MODEL = {"MODEL": {"MODEL_NAME": "VTN", "ARCH": "VIT"}}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns dotted keys as nested mappings, on top of a small valid model."""
    mapping: dict[str, Any] = {section: dict(keys) for section, keys in SMALL_MODEL.items()}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        node = mapping
        for name in sections:
            node = node.setdefault(name, {})
        node[leaf] = value
    return mapping


class _Quoting(yaml.SafeDumper):
    """A writer that puts all text in quotes; without them 0E0 is text for PyYAML, and a number here."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def write(folder: Path, mapping: dict[str, Any]) -> Path:
    path = folder / "a.yaml"
    path.write_text(yaml.dump(mapping, Dumper=_Quoting), encoding="utf-8")
    return path


def load_or_refuse(path: Path | str, overrides: Sequence[str] = ()) -> list[str]:
    """Returns the problems of a configuration; checks that without problems it is complete and frozen."""
    cfg, problems = None, []
    try:
        cfg = load_config(path, overrides, for_run=True)
    except ConfigError as error:
        problems = error.problems
    if cfg is None:
        assert len(problems) > 0
        assert all(problems)
    else:
        assert cfg.is_frozen()
        assert cfg.keys() == get_default_config().keys()
    return problems


@given(st.fixed_dictionaries({}, optional=VALID))
@example({"OUTPUT_DIR": "0E0"})
@SETTINGS
def test_a_valid_mapping_loads_with_its_values(tmp_path: Path, values: dict[str, Any]) -> None:
    cfg = load_config(write(tmp_path, nested(values)))
    for key, value in values.items():
        loaded: Any = cfg
        for name in key.split("."):
            loaded = loaded[name]
        assert (dict(loaded) if isinstance(loaded, CfgNode) else loaded) == value, key


@given(st.fixed_dictionaries({}, optional=VALID), st.sampled_from(sorted(INVALID)), st.data())
@SETTINGS
def test_an_invalid_value_is_refused_with_its_key(
    tmp_path: Path, values: dict[str, Any], key: str, data: st.DataObject
) -> None:
    wrong = data.draw(INVALID[key])
    problems = load_or_refuse(write(tmp_path, nested({**values, key: wrong})))
    assert any(problem.startswith(f"{key} (") for problem in problems)


@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES, max_size=4))
@SETTINGS
def test_any_mapping_is_loaded_or_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    problems = load_or_refuse(write(tmp_path, content))
    assert any(problem.startswith("NOTHING (") for problem in problems) == ("NOTHING" in content)


@given(st.text(max_size=60) | st.text(alphabet="TRAIN:{}[]&*!|>-?\n\t #'\"%<=\0", max_size=40))
@SETTINGS
def test_any_text_is_refused_since_it_sets_no_data_folder(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content, encoding="utf-8", newline="")
    assert load_or_refuse(tmp_path / "a.yaml")


@given(st.lists(OVERRIDE, max_size=3))
@SETTINGS
def test_any_override_is_loaded_or_refused(pairs: list[tuple[str, str]]) -> None:
    problems = load_or_refuse("VIT_B_VTN", [text for pair in pairs for text in pair])
    unknown = any(key == "NOTHING" for key, _ in pairs)
    assert any(problem.startswith("NOTHING (") for problem in problems) == unknown
