"""Moments in Time, and Multi-Moments in Time, which has several labels per video."""

from __future__ import annotations

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.source import AnnotationSource, ClassIndex, Rows, read_class_list
from slowfast.datasets.text_files import parse_index, read_table
from slowfast.errors import AnnotationError

_LISTS = {"train": "trainingSet", "val": "validationSet", "test": "validationSet"}
_FOLDERS = {"train": "training", "val": "validation", "test": "validation"}


def read_moments(source: AnnotationSource) -> Annotations:
    """Reads ``trainingSet.csv`` and ``validationSet.csv``.

    The validation list is also the test set, since the official test set has no labels. A line is
    ``class/name.mp4,class,agreeing,disagreeing``; with several labels it is ``class/name.mp4,index,index,…``
    (``.csv`` or ``.txt``). ``moments_categories.txt`` has lines ``class,index``. Videos are in ``training``
    and ``validation``, in ``videos``, or in the root itself.
    """
    categories = source.find("moments_categories.txt")
    classes = ClassIndex(read_class_list(categories, _category), categories, source.num_classes)
    name = _LISTS[source.split]
    path = source.find(f"{name}.csv", f"{name}.txt")
    rows = Rows(source, classes)
    for line, cells in read_table(path):
        if len(cells) < 2:
            raise AnnotationError(f"{path}, line {line}: {cells[0]!r} has no label")
        if source.multi_label:
            rows.add(cells[0], *(classes.checked(cell, f"{path}, line {line}") for cell in cells[1:]))
        else:
            rows.add(cells[0], classes.index(cells[1], f"{path}, line {line}"))
    rows.apply_layout((f"{_FOLDERS[source.split]}/{{name}}", "videos/{name}", "{name}"))
    return rows.annotations(path)


def _category(text: str, place: str) -> tuple[str, int]:
    name, _, number = text.rpartition(",")
    index = parse_index(number.strip())
    if not name or index is None:
        raise AnnotationError(f"{place}: {text!r} is not a class name, a comma and an index")
    return name, index
