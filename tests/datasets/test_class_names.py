"""Files of class names: their forms, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from slowfast.config import get_default_config
from slowfast.datasets import class_names
from slowfast.datasets.class_names import build_class_names, named_classes, read_class_names
from slowfast.errors import ConfigError

NAMES = ["archery", "3 point shot", "yoga, slow"]


def built(stored: Sequence[str], num_classes: int, data_dir: str = "") -> list[str]:
    cfg = get_default_config()
    cfg.MODEL.NUM_CLASSES, cfg.DATA.PATH_TO_DATA_DIR = num_classes, data_dir
    return build_class_names(cfg, stored)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({name: index for index, name in enumerate(NAMES)}),
        json.dumps({name: str(index) for index, name in enumerate(NAMES)}),
        json.dumps({str(index): name for index, name in enumerate(NAMES)}),
        json.dumps(NAMES),
        "\n".join(NAMES),
        "".join(f"{index} {name}\r\n" for index, name in enumerate(NAMES)),
        "".join(f"{index}, {name}\n\n" for index, name in enumerate(NAMES, start=1)),
        "".join(f"{index}: {name}\n" for index, name in reversed(list(enumerate(NAMES)))),
        "".join(f'{index},"{name}"\n' for index, name in enumerate(NAMES)),
        "".join(f"{name},{index}\n" for index, name in reversed(list(enumerate(NAMES)))),
        "".join(f"{name} {index}\n" for index, name in enumerate(NAMES, start=1)),
        "".join(f'"{name}"\n' for name in NAMES),
    ],
    ids=[
        *("name to index", "name to text", "index to name", "list", "lines", "from 0", "from 1"),
        *("any order", "quotes after numbers", "numbers last, any order", "numbers last, from 1", "quotes"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_one_set_of_names_in_many_forms(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(text.encode(encoding))
    assert read_class_names(path, 3) == NAMES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 0, "b": 1}', "has 2 names, .* is 3; index 2 has no name; set MODEL.NUM_CLASSES 2, or"),
        ('["a", "b", "c", "d"]', "'d' has the index 3, which is above 2; set MODEL.NUM_CLASSES 4, or name"),
        ("a\nb\n", "has 2 names, but"),
        ("", "has 0 names, but"),
        ('{"a": 0, "b": 1, "c": 3}', "'c' has the index 3, which is above 2; name each class once"),
        ('{"a": 0, "b": 1, "c": -1}', "-1 is not an index"),
        ('{"a": 0, "b": 1, "c": 1}', "'b' and 'c' both have the index 1"),
        ('{"a": 0, "b": "x", "c": 1}', "'x' is not an index"),
        ('{"a": 0', "must be json with class names"),
        ("{'a': 0, 'b': 1, 'c': 2}", "must be json with class names"),
        ('["a", "b", "a"]', "'a' is the name of the classes 0 and 2; give each class its own name"),
        ("a\nb\na\n", "'a' is the name of the classes 0 and 2"),
        ('["a", "b", null]', "None is not a class name"),
        ('["a", "b", ""]', "'' is not a class name"),
        ('[["a", 0], ["b", 1], ["c", 2]]', r"\['a', 0\] is not a class name"),
        ('[{"id": 0, "name": "a"}]', "is not a class name"),
        ('{"0": "a", "1": "b", "2": ["c"]}', r"\['c'\] is not a class name"),
        ('{"classes": ["a", "b", "c"]}', "is not an index of a class"),
        ('{"a": 0, "b": 1, "c": true}', "True is not an index"),
        ("0 a\n1 b\n3 c\n", "'c' has the index 3, which is above 2"),
        (r'["\ud83d", "b", "c"]', "surrogates not allowed"),
        ("[" * 200_000, "is nested more than 100 levels deep"),
        ("index,name\n0,a\n1,b\n2,c\n", "has 4 names, but MODEL.NUM_CLASSES is 3"),
    ],
)
def test_other_indices_than_those_of_the_classes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"DATA.CLASS_NAMES = .*names.json': .*{message}"):
        read_class_names(path, 3)


@pytest.mark.parametrize("text", ["caf\xe9\nb\nc\n", '["caf\xe9", "b", "c"]'])
def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"names\.txt: is not UTF-8 text .*; save it as UTF-8$"):
        read_class_names(path, 3)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DATA.CLASS_NAMES = .*none.json: cannot be read"):
        read_class_names(tmp_path / "none.json", 3)


def test_without_a_file_names_are_those_of_the_checkpoint_or_numbers() -> None:
    assert built(NAMES, 3) == NAMES
    assert built(NAMES, 2) == ["0", "1"]
    assert named_classes("", 3) == ()


def test_names_beside_the_lists_are_used_where_no_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """``prepare make-csv`` writes this file."""
    (tmp_path / "classes.json").write_text(json.dumps({name: k for k, name in enumerate(NAMES)}))
    assert built((), 3, data_dir=str(tmp_path)) == NAMES
    assert built(["a", "b", "c"], 3, data_dir=str(tmp_path)) == ["a", "b", "c"]
    for _ in range(2):
        assert built((), 2, data_dir=str(tmp_path)) == ["0", "1"]
    (warning,) = caplog.messages
    assert warning.startswith(f"class names: {tmp_path}/classes.json is not used: has 3 names, but")


def test_the_file_beside_the_lists_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    read: list[str] = []
    read_utf8 = class_names.read_utf8
    monkeypatch.setattr(class_names, "read_utf8", lambda path: read.append(path) or read_utf8(path))
    assert built((), 3, data_dir=str(tmp_path)) == NAMES
    assert read == [str(tmp_path / "classes.json")]


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "3"],
        ["scene 0", "scene 1", "scene 2"],
        ["0 errors", "1 errors", "2 errors"],
        ["10 pin bowling", "3 point shot", "yoga"],
        ["area 51", "walking", "yoga"],
    ],
)
def test_numbers_may_belong_to_names(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names))
    assert read_class_names(path, 3) == names
