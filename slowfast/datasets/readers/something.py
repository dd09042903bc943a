"""Something-Something V2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.source import AnnotationSource, ClassIndex, Rows
from slowfast.datasets.text_files import parse_index, read_json, read_table
from slowfast.errors import AnnotationError

# Names of the files in the first release, and in the current one.
_LABELS = ("something-something-v2-labels.json", "labels.json", "labels/labels.json")
_LISTS = {
    "train": ("something-something-v2-train.json", "train.json", "labels/train.json"),
    "val": ("something-something-v2-validation.json", "validation.json", "labels/validation.json"),
}
_TEST_ANSWERS = ("test-answers.csv", "labels/test-answers.csv")
_LAYOUTS = (
    "{name}.webm",
    "20bn-something-something-v2/{name}.webm",
    "videos/{name}.webm",
    "{name}.mp4",
    "videos/{name}.mp4",
)


def read_ssv2(source: AnnotationSource) -> Annotations:
    """Reads the json lists of the official release.

    ``labels.json`` maps templates to indices (written as text); ``train.json`` and ``validation.json`` list
    ``{"id": …, "template": "Putting [something] into [something]"}``. The test set is ``test-answers.csv``
    (``id;template``) where that file exists, else the validation set, since ``test.json`` has no labels.
    Videos are ``ID.webm`` in the root, in ``20bn-something-something-v2``, or in ``videos``.
    """
    labels = source.find(*_LABELS)
    indices = {name: _index(name, text, labels) for name, text in read_json(labels, dict).items()}
    classes = ClassIndex(indices, labels, source.num_classes)
    path, entries = _entries(source)
    rows = Rows(source, classes)
    for place, name, template in entries:
        rows.add(name, classes.index(template.replace("[", "").replace("]", ""), place))
    rows.apply_layout(_LAYOUTS)
    return rows.annotations(path)


def _index(name: str, text: Any, path: str) -> int:
    index = parse_index(str(text))
    if index is None:
        raise AnnotationError(f"{path}: {name!r} has {text!r}, which is not a class index")
    return index


def _entries(source: AnnotationSource) -> tuple[str, Iterator[tuple[str, str, str]]]:
    """Returns the list of the split, and for each of its videos file and line, name and template."""
    if source.split == "test":
        try:
            path = source.find(*_TEST_ANSWERS)
        except AnnotationError:
            pass
        else:
            return path, _answers(path)
    path = source.find(*_LISTS["train" if source.split == "train" else "val"])
    return path, _listed(path)


def _answers(path: str) -> Iterator[tuple[str, str, str]]:
    for line, cells in read_table(path, delimiter=";"):
        if len(cells) != 2:
            raise AnnotationError(
                f"{path}, line {line}: {';'.join(cells)!r} must be a video and its template, separated by ';'"
            )
        yield f"{path}, line {line}", cells[0], cells[1]


def _listed(path: str) -> Iterator[tuple[str, str, str]]:
    for number, entry in enumerate(read_json(path, list), start=1):
        try:
            yield f"{path}, entry {number}", str(entry["id"]), str(entry["template"])
        except (KeyError, TypeError) as error:
            raise AnnotationError(
                f"{path}, entry {number}: lacks 'id' or 'template'; is it test.json?"
            ) from error
