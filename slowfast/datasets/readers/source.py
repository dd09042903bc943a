"""The parts that readers share: the source of annotations, class indices, layouts of files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slowfast.datasets.annotations import Annotations, PathTable, pack_labels
from slowfast.datasets.text_files import CLASSES_FILE, parse_index, read_json, read_lines
from slowfast.errors import AnnotationError, counted
from slowfast.log import get_logger

_logger = get_logger(__name__)

# Videos whose files are looked for before a layout of folders is rejected; some may be missing.
_PROBED_VIDEOS = 200


@dataclass(frozen=True)
class AnnotationSource:
    """The source of the annotations of one split, and the settings by which they are read.

    Attributes:
        folder: the data set's folder, or (for lists of ``path label``) one file, or a pattern of shards.
        split: "train", "val" or "test".
        num_classes: K, the classes of the model.
        prefix: folder of the videos; empty: ``folder``.
        separator: between the columns of lists of ``path label``.
        multi_label: a video may have several labels.
        fold: number of the official split, from 1, for data sets that have several.
        image_fps: images per second of folders of images.
        image_template: name of the images in a folder, see ``DATA.IMAGE_TEMPLATE``.
        shuffle_shards: number of shards whose videos are shuffled together, see ``DATA.SHUFFLE_SHARDS``.
    """

    folder: str
    split: str
    num_classes: int
    prefix: str = ""
    separator: str = " "
    multi_label: bool = False
    fold: int = 1
    image_fps: float = 30.0
    image_template: str = ""
    shuffle_shards: int = 0

    @property
    def root(self) -> str:
        """Folder of the videos."""
        return self.prefix or self.folder

    def find(self, *names: str) -> str:
        """Returns the first of the files ``names`` that exists in ``folder``.

        Raises:
            AnnotationError: when none exists.
        """
        for name in names:
            path = os.path.join(self.folder, name)
            if os.path.isfile(path):
                return path
        wanted = " or ".join(names)
        raise AnnotationError(f"{self.folder}: has no {wanted}; check DATA.PATH_TO_DATA_DIR")


@dataclass
class Rows:
    """Videos and their labels, added one by one.

    Attributes:
        source: of the annotations.
        classes: of the data set.
        paths: relative to the root, or absolute.
        labels: at least one class index per video.
    """

    source: AnnotationSource
    classes: ClassIndex
    paths: list[str] = field(default_factory=list)
    labels: list[Sequence[int]] = field(default_factory=list)

    def add(self, path: str, *labels: int) -> None:
        """Adds a video with its class indices."""
        self.paths.append(path)
        self.labels.append(labels)

    def apply_layout(
        self, layouts: Sequence[str], fields: Callable[[int], Mapping[str, str]] = lambda row: {}
    ) -> None:
        """Replaces the paths by those of the first layout in which one of the first files exists.

        Args:
            layouts: paths relative to the root, with ``name``, the path of a row, and fields in braces.
            fields: returns the values of the other fields of a row.

        Raises:
            AnnotationError: when none exists; names the paths that were tried.
        """

        def fill(layout: str, row: int) -> str:
            return layout.format(name=self.paths[row], **fields(row))

        first = range(min(len(self.paths), _PROBED_VIDEOS))
        for layout in layouts:
            if any(os.path.exists(os.path.join(self.source.root, fill(layout, row))) for row in first):
                self.paths = [fill(layout, row) for row in range(len(self.paths))]
                return
        if first:
            tried = ", ".join(dict.fromkeys(fill(layout, 0) for layout in layouts))
            raise AnnotationError(
                f"{self.source.root}: contains none of the first videos; looked for {tried}; set "
                "DATA.PATH_PREFIX to their folder"
            )

    def annotations(self, path: str) -> Annotations:
        """Returns the rows as :class:`Annotations`; ``path`` names their file in messages.

        Raises:
            AnnotationError: where no row was added.
        """
        if not self.paths:
            raise AnnotationError(f"{path}: contains no video of the split {self.source.split!r}")
        return Annotations(
            PathTable.from_strings(self.paths, self.source.root),
            *pack_labels(self.labels, several=self.source.multi_label),
            self.source.num_classes,
            class_names=self.classes.ordered_names(),
        )


class ClassIndex:
    """Class names and their indices.

    Args:
        indices: name -> index.
        path: the file with the indices, for messages.
        num_classes: K; indices are in [0, K).

    Raises:
        AnnotationError: for an index that is not in [0, K).
    """

    def __init__(self, indices: Mapping[str, int], path: str, num_classes: int) -> None:
        self._indices = dict(indices)
        self._path = path
        self._num_classes = num_classes
        wrong = [f"{name!r} = {i!r}" for name, i in self._indices.items() if not _is_index(i, num_classes)]
        if wrong:
            raise AnnotationError(
                f"{path}: has {len(self._indices)} classes, and {wrong[0]} is not an index of 0 to "
                f"{num_classes - 1}; MODEL.NUM_CLASSES is {num_classes}"
            )
        self._numbers = set(self._indices.values())
        if len(self._numbers) < len(self._indices):
            same = Counter(self._indices.values()).most_common(1)[0][0]
            merged = [name for name, index in self._indices.items() if index == same]
            _logger.warning("%s: the classes %s are one class, with the index %d", path, merged, same)

    @classmethod
    def from_names(cls, names: Iterable[str], source: AnnotationSource, path: str) -> ClassIndex:
        """Returns the indices of ``classes.json`` in the data set's folder, else those of the sorted names.

        Without that file there must be exactly K names: the sorted names of a subset of the classes would
        get wrong indices.

        Args:
            names: of the classes that ``path`` contains.

        Raises:
            AnnotationError: where the number of names is not K.
        """
        listed = os.path.join(source.folder, CLASSES_FILE)
        if os.path.isfile(listed):
            return cls(read_json(listed, dict), listed, source.num_classes)
        found = sorted(set(names))
        if not found:
            raise AnnotationError(f"{path}: has 0 classes; each class needs a folder, or a line in a list")
        if len(found) != source.num_classes:
            raise AnnotationError(
                f"{path}: has {counted(len(found), 'class', 'classes')}, but MODEL.NUM_CLASSES is "
                f"{source.num_classes}; set it to {len(found)}, or write {listed} with each class name and "
                "its index"
            )
        return cls({name: i for i, name in enumerate(found)}, path, source.num_classes)

    def index(self, name: str, place: str) -> int:
        """Returns the index of a class; ``place`` in messages is such as ``train.csv, line 3``."""
        if name not in self._indices:
            raise AnnotationError(f"{place}: class {name!r} is not in {self._path}")
        return self._indices[name]

    def ordered_names(self) -> tuple[str, ...]:
        """Returns the K names in the order of their indices; empty where an index has no name, or several."""
        names = sorted(self._indices, key=self._indices.__getitem__)
        has_all = [self._indices[name] for name in names] == list(range(self._num_classes))
        return tuple(names) if has_all else ()

    def checked(self, index: str, place: str) -> int:
        """Returns the index that is written at ``place``; raises where it is not that of a class."""
        number = parse_index(index)
        if number is None or number not in self._numbers:
            raise AnnotationError(f"{place}: {index!r} is not a class index of {self._path}")
        return number


def read_class_list(path: str, parse: Callable[[str, str], tuple[str, int]]) -> dict[str, int]:
    """Reads a list of one class per line; returns name -> index.

    Args:
        parse: maps the text of a line and its place, such as ``classes.txt, line 3``, to name and index.

    Raises:
        AnnotationError: for a name with two indices, of which one would be lost.
    """
    indices: dict[str, int] = {}
    for line, text in read_lines(path):
        name, index = parse(text, f"{path}, line {line}")
        if indices.setdefault(name, index) != index:
            raise AnnotationError(
                f"{path}, line {line}: {text!r} gives the class {name!r} a second index; keep one line"
            )
    return indices


def _is_index(value: Any, num_classes: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < num_classes
