"""Data sets without lists of videos, and lists of folders of images or files of features."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Sequence

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.kinetics import read_path_label
from slowfast.datasets.readers.source import AnnotationSource, ClassIndex, Rows
from slowfast.datasets.video_folder import describe_others, find_class_folders, scan_classes
from slowfast.errors import AnnotationError, DecodeError
from slowfast.log import get_logger
from slowfast.video.image_folder import ImageFolder

_logger = get_logger(__name__)

# Folders of images that are listed before training to find ambiguous names.
_PROBED_FOLDERS = 20


def read_videofolder(source: AnnotationSource) -> Annotations:
    """Finds the videos ``SPLIT/CLASS/…/video``, at any depth below the class, in sorted order.

    Class indices are those of ``classes.json``, else of the sorted names of the class folders of all splits:
    the names of one split alone would get other indices where it lacks a class.

    Raises:
        AnnotationError: where a folder cannot be read, or a class folder contains no video.
    """
    folder = os.path.join(source.folder, source.split)
    names = find_class_folders(folder)
    folders = {split: os.path.join(source.folder, split) for split in ("train", "val", "test")}
    splits = [split for split, path in folders.items() if os.path.isdir(path)]
    all_names = {name for split in splits for name in find_class_folders(folders[split])}
    classes = ClassIndex.from_names(all_names, source, f"{source.folder} ({', '.join(splits)})")
    # Paths are relative to the data set's folder: a feature cache names its files by them, and two splits
    # may contain videos of one name.
    rows = Rows(dataclasses.replace(source, prefix=""), classes)
    videos, others = scan_classes(folder, names)
    for name, path in videos:
        rows.add(os.path.join(source.split, path), classes.index(name, folder))
    if others:
        _logger.warning(
            "%s: left out, because they are not videos of a class: %s", folder, describe_others(others)
        )
    return rows.annotations(folder)


def read_frames(source: AnnotationSource) -> Annotations:
    """Reads lists of ``path label`` (see :func:`read_path_label`) whose paths are folders of images.

    Raises:
        AnnotationError: where one of the first folders contains several sequences of images.
    """
    annotations = read_path_label(source)
    for path in itertools.islice(annotations.paths, _PROBED_FOLDERS):
        try:
            names = ImageFolder(path, source.image_fps, source.image_template).names
        except DecodeError as error:
            if error.reason == "several image sequences":
                raise AnnotationError(str(error)) from error
        else:
            if (second := _find_restart(names)) and not source.image_template:
                _logger.warning(
                    "%s: read as one sequence of %d images from %s to %s, but the numbers restart at %s; "
                    "if these are several sequences, set DATA.IMAGE_TEMPLATE to the name of one, with its "
                    "last number as the field {:05d}, or {} without leading zeros",
                    path, len(names), names[0], names[-1], second,
                )  # fmt: skip
                break
    return dataclasses.replace(annotations, image_fps=source.image_fps, image_template=source.image_template)


def read_features(source: AnnotationSource) -> Annotations:
    """Reads lists of ``path label`` (see :func:`read_path_label`) whose paths are files of features.

    The suffix ``.npy`` or ``.npz`` may be missing, as in lists of video names.
    """
    return dataclasses.replace(read_path_label(source), features=True)


def _find_restart(names: Sequence[str]) -> str:
    """Returns the first image whose last number is that of an earlier image; else an empty text.

    ``cam1_001.jpg`` and ``cam2_001.jpg`` are two sequences, but ``00-01-05.jpg`` and ``00-02-05.jpg``, times,
    are one; only the user knows.
    """
    seen: set[int] = set()
    for name in names:
        numbers = re.findall(r"\d+", os.path.splitext(name)[0])
        if numbers and int(numbers[-1]) in seen:
            return name
        seen.update(map(int, numbers[-1:]))
    return ""
