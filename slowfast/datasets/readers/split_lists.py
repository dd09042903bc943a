"""UCF101 and HMDB51: three official splits of the same videos; ``DATA.FOLD`` chooses one.

Neither has a validation set; "val" and "test" both mean the test list.
"""

from __future__ import annotations

import glob
import os

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.source import AnnotationSource, ClassIndex, Rows, read_class_list
from slowfast.datasets.text_files import parse_index, read_lines
from slowfast.errors import AnnotationError

_UCF_FOLDERS = ("", "ucfTrainTestlist", "annotations")
_HMDB_FOLDERS = ("", "testTrainMulti_7030_splits", "splits", "annotations")
_HMDB_TRAIN, _HMDB_TEST, _HMDB_UNUSED = "1", "2", "0"


def read_ucf101(source: AnnotationSource) -> Annotations:
    """Reads ``classInd.txt``, ``trainlist0N.txt`` and ``testlist0N.txt``.

    They are in the folder itself, in ``ucfTrainTestlist`` or ``annotations``; videos are
    ``Class/v_Class_g01_c01.avi`` in the root, ``UCF-101`` or ``videos``.
    """
    class_list = source.find(*(os.path.join(folder, "classInd.txt") for folder in _UCF_FOLDERS))
    classes = ClassIndex(read_class_list(class_list, _ucf_class), class_list, source.num_classes)
    kind = "train" if source.split == "train" else "test"
    path = source.find(*(os.path.join(folder, f"{kind}list{source.fold:02d}.txt") for folder in _UCF_FOLDERS))
    rows = Rows(source, classes)
    for line, text in read_lines(path):
        # Training lists add the number of the class, which the folder already determines.
        video = text.split(" ")[0]
        rows.add(video, classes.index(os.path.dirname(video), f"{path}, line {line}"))
    rows.apply_layout(("{name}", "UCF-101/{name}", "videos/{name}"))
    return rows.annotations(path)


def read_hmdb51(source: AnnotationSource) -> Annotations:
    """Reads ``CLASS_test_splitN.txt`` with lines ``name.avi 1`` (training), ``2`` (test) or ``0`` (unused).

    They are in the folder itself, in ``testTrainMulti_7030_splits``, ``splits`` or ``annotations``; videos
    are ``CLASS/name.avi`` in the root, ``hmdb51`` or ``videos``. Classes are in alphabetical order.
    """
    ending = f"_test_split{source.fold}.txt"
    lists: list[str] = []
    for folder in _HMDB_FOLDERS:
        pattern = os.path.join(glob.escape(os.path.join(source.folder, folder)), f"*{ending}")
        lists = lists or sorted(glob.glob(pattern))
    if not lists:
        raise AnnotationError(
            f"{source.folder}: has no CLASS{ending}; check DATA.PATH_TO_DATA_DIR and DATA.FOLD"
        )
    names = [os.path.basename(path).removesuffix(ending) for path in lists]
    folder = os.path.dirname(lists[0])
    classes = ClassIndex.from_names(names, source, folder)
    wanted = _HMDB_TRAIN if source.split == "train" else _HMDB_TEST
    rows = Rows(source, classes)
    for path, name in zip(lists, names, strict=True):
        for line, text in read_lines(path):
            video, _, usage = text.rpartition(" ")
            if not video or usage not in (_HMDB_TRAIN, _HMDB_TEST, _HMDB_UNUSED):
                raise AnnotationError(
                    f"{path}, line {line}: {text!r} must be a file name and 0, 1 or 2, separated by a space"
                )
            if usage == wanted:
                rows.add(f"{name}/{video.strip()}", classes.index(name, f"{path}, line {line}"))
    rows.apply_layout(("{name}", "hmdb51/{name}", "videos/{name}"))
    return rows.annotations(folder)


def _ucf_class(text: str, place: str) -> tuple[str, int]:
    number, _, name = text.partition(" ")
    index = parse_index(number)
    if not name or not index:
        raise AnnotationError(
            f"{place}: {text!r} must be a number from 1 on and a class name, separated by a space"
        )
    return name.strip(), index - 1
