"""Files of class names: their forms, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slowfast.datasets.class_names import choose_class_names, named_classes, read_class_names
from slowfast.errors import ConfigError

NAMES = ["archery", "3 point shot", "yoga, slow"]


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
    ],
    ids=["name to index", "name to text", "index to name", "list", "lines", "from 0", "from 1"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_one_set_of_names_in_many_forms(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(text.encode(encoding))
    assert read_class_names(path, 3) == NAMES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 0, "b": 1}', "has 2 names, but MODEL.NUM_CLASSES is 3; index 2 has no name"),
        ('["a", "b", "c", "d"]', "has 4 names, .* is 3; 'd' has the index 3, which is above 2"),
        ("a\nb\n", "has 2 names, but"),
        ("", "has 0 names, but"),
        ('{"a": 0, "b": 1, "c": 3}', "'c' has the index 3, which is above 2"),
        ('{"a": 0, "b": 1, "c": -1}', "-1 is not an index"),
        ('{"a": 0, "b": 1, "c": 1}', "'b' and 'c' both have the index 1"),
        ('{"a": 0, "b": "x", "c": 1}', "'x' is not an index"),
        ('{"a": 0', "must be json with class names"),
    ],
)
def test_other_indices_than_those_of_the_classes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"DATA.CLASS_NAMES = .*names.json': .*{message}"):
        read_class_names(path, 3)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DATA.CLASS_NAMES = .*none.json: cannot be read"):
        read_class_names(tmp_path / "none.json", 3)


def test_without_a_file_names_are_those_of_the_checkpoint_or_numbers() -> None:
    assert choose_class_names("", NAMES, 3) == NAMES
    assert choose_class_names("", NAMES, 2) == ["0", "1"]
    assert named_classes("", 3) == ()
