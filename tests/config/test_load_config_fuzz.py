"""Whatever a file or a command line holds, the answer is a configuration or a ConfigError."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slowfast.config import load_config
from slowfast.errors import ConfigError

SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
    st.sampled_from([*SECTIONS, *OVERRIDES]) | st.text(max_size=6),
    st.text(max_size=8) | VALUES.map(str),
)


def load_or_refuse(path: Path | str, overrides: Sequence[str] = ()) -> None:
    with contextlib.suppress(ConfigError):
        load_config(path, overrides, for_run=True)


@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES, max_size=4))
@SETTINGS
def test_any_mapping(tmp_path: Path, content: dict) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    load_or_refuse(tmp_path / "a.yaml")


@given(st.text(max_size=60) | st.text(alphabet="TRAIN:{}[]&*!|>-?\n\t #'\"%<=\0", max_size=40))
@SETTINGS
def test_any_text(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content, encoding="utf-8", newline="")
    load_or_refuse(tmp_path / "a.yaml")


@given(st.lists(OVERRIDE, max_size=3))
@SETTINGS
def test_any_override(pairs: list[tuple[str, str]]) -> None:
    load_or_refuse("VIT_B_VTN", [text for pair in pairs for text in pair])
