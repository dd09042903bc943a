"""Data sets without lists of their own: a folder per class, folders of images, files of features."""

from __future__ import annotations

import dataclasses
import os

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.kinetics import read_path_label
from slowfast.datasets.readers.source import AnnotationSource, ClassIndex, Rows
from slowfast.datasets.text_files import find_class_folders, find_videos
from slowfast.errors import AnnotationError


def read_videofolder(source: AnnotationSource) -> Annotations:
    """Finds ``SPLIT/CLASS/…/video`` files, at any depth below the class, in sorted order.

    Class indices follow ``classes.json`` where there is one, else the sorted names of the class folders of
    all splits: a split that lacks a class would number the others in another way.
    """
    folder = os.path.join(source.folder, source.split)
    names = _class_folders(folder)
    folders = {split: os.path.join(source.folder, split) for split in ("train", "val", "test")}
    splits = [split for split, path in folders.items() if os.path.isdir(path)]
    all_names = {name for split in splits for name in _class_folders(folders[split])}
    classes = ClassIndex.from_names(all_names, source, f"{source.folder} ({', '.join(splits)})")
    # Paths begin at the data set's folder: a feature cache names its files by them, and splits may hold
    # videos of one name.
    rows = Rows(dataclasses.replace(source, prefix=""))
    for name in names:
        for video in find_videos(os.path.join(folder, name)):
            rows.add(os.path.join(source.split, name, video), classes.index(name, folder))
    return rows.annotations(folder)


def read_frames(source: AnnotationSource) -> Annotations:
    """Reads lists of ``path label`` (see :func:`read_path_label`) whose paths are folders of images."""
    return dataclasses.replace(read_path_label(source), image_fps=source.image_fps)


def read_features(source: AnnotationSource) -> Annotations:
    """Reads lists of ``path label`` (see :func:`read_path_label`) whose paths are files of features.

    The ending ``.npy`` or ``.npz`` may be left out, as lists of video names do.
    """
    return dataclasses.replace(read_path_label(source), features=True)


def _class_folders(folder: str) -> list[str]:
    try:
        return find_class_folders(folder)
    except OSError as error:
        raise AnnotationError(
            f"{folder}: cannot be read ({error.strerror}); it holds the videos of the split, a folder a class"
        ) from error
