"""Data sets without lists of videos, and lists of folders of images or files of features."""

from __future__ import annotations

import dataclasses
import itertools
import os

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.kinetics import read_path_label
from slowfast.datasets.readers.source import AnnotationSource, ClassIndex, Rows
from slowfast.datasets.video_folder import (
    describe_others,
    find_class_folders,
    find_loose_files,
    scan_class_folder,
)
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
    names = _class_folders(folder)
    folders = {split: os.path.join(source.folder, split) for split in ("train", "val", "test")}
    splits = [split for split, path in folders.items() if os.path.isdir(path)]
    all_names = {name for split in splits for name in _class_folders(folders[split])}
    classes = ClassIndex.from_names(all_names, source, f"{source.folder} ({', '.join(splits)})")
    # Paths are relative to the data set's folder: a feature cache names its files by them, and two splits
    # may contain videos of one name.
    rows = Rows(dataclasses.replace(source, prefix=""))
    others = find_loose_files(folder)
    for name in names:
        contents = scan_class_folder(os.path.join(folder, name))
        others += [os.path.join(name, other) for other in contents.others]
        for video in contents.videos:
            rows.add(os.path.join(source.split, name, video), classes.index(name, folder))
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
            ImageFolder(path, source.image_fps, source.image_template)
        except DecodeError as error:
            if error.reason == "several image sequences":
                raise AnnotationError(str(error)) from error
    return dataclasses.replace(annotations, image_fps=source.image_fps, image_template=source.image_template)


def read_features(source: AnnotationSource) -> Annotations:
    """Reads lists of ``path label`` (see :func:`read_path_label`) whose paths are files of features.

    The suffix ``.npy`` or ``.npz`` may be missing, as in lists of video names.
    """
    return dataclasses.replace(read_path_label(source), features=True)


def _class_folders(folder: str) -> list[str]:
    try:
        return find_class_folders(folder)
    except OSError as error:
        raise AnnotationError(
            f"{folder}: cannot be read ({error.strerror}); it must contain one folder of videos per class"
        ) from error
