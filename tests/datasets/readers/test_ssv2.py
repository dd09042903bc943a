"""The reader of Something-Something V2 on a data set with the files of the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slowfast.errors import AnnotationError
from tests.support.reading.data_sets import lay_out, read

TEMPLATES = json.dumps(
    {"Putting something into something": "1", "Approaching something with your camera": "0"}
)


def entry(video: str, template: str = "Putting [something] into [something]") -> dict[str, object]:
    return {
        "id": video,
        "label": "putting pen into cup",
        "template": template,
        "placeholders": ["pen", "cup"],
    }


def test_ssv2_first_release_is_read(tmp_path: Path) -> None:
    texts = {
        "something-something-v2-labels.json": TEMPLATES,
        "something-something-v2-train.json": json.dumps([entry("78687")]),
        "something-something-v2-validation.json": json.dumps(
            [entry("5", "Approaching [something] with your camera")]
        ),
    }
    lay_out(tmp_path, texts, ["20bn-something-something-v2/78687.webm", "20bn-something-something-v2/5.webm"])
    assert read("ssv2", tmp_path) == [("20bn-something-something-v2/78687.webm", 1)]
    assert (
        read("ssv2", tmp_path, "val")
        == read("ssv2", tmp_path, "test")
        == [("20bn-something-something-v2/5.webm", 0)]
    )


def test_ssv2_current_release_has_labels_of_its_test_set(tmp_path: Path) -> None:
    texts = {
        "labels/labels.json": TEMPLATES,
        "labels/validation.json": json.dumps([entry("1")]),
        "labels/test-answers.csv": "2;Approaching something with your camera\n",
    }
    lay_out(tmp_path, texts, ["2.webm"])
    assert read("ssv2", tmp_path, "test") == [("2.webm", 0)]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("[{]", "train.json, line 1: is not valid json"),
        ("{}", "train.json: contains a dict; it must be a list"),
        (
            json.dumps([entry("1"), {"id": "2"}]),
            "train.json, entry 2: lacks 'id' or 'template'; is it test.json",
        ),
        (
            json.dumps([entry("1", "Eating [something]")]),
            "train.json, entry 1: class 'Eating something' is not in",
        ),
    ],
)
def test_ssv2_names_the_fault(tmp_path: Path, train: str, message: str) -> None:
    lay_out(tmp_path, {"labels.json": TEMPLATES, "train.json": train})
    with pytest.raises(AnnotationError, match=message):
        read("ssv2", tmp_path)
