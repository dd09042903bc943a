"""The reader of Moments in Time on a data set with the files of the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.errors import AnnotationError
from tests.support.reading.data_sets import SPLITS, lay_out, read

CATEGORIES = {"moments_categories.txt": "clapping,0\nadult+female+singing,1\n"}


@pytest.mark.parametrize("split", SPLITS)
def test_moments_lists_are_read(tmp_path: Path, split: str) -> None:
    name, folder = ("trainingSet", "training") if split == "train" else ("validationSet", "validation")
    video = "adult+female+singing/flickr-0-4-2.mp4"
    texts = CATEGORIES | {f"{name}.csv": f"{video},adult+female+singing,3,0\n"}
    lay_out(tmp_path, texts, [f"{folder}/{video}"])
    assert read("moments", tmp_path, split) == [(f"{folder}/{video}", 1)]


def test_moments_lists_with_several_labels_are_read(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        CATEGORIES | {"trainingSet.txt": "x/1.mp4,0,1\nx/2.mp4,1\n"},
        ["videos/x/1.mp4", "videos/x/2.mp4"],
    )
    assert read("moments", tmp_path, multi_label=True) == [
        ("videos/x/1.mp4", [1.0, 1.0]),
        ("videos/x/2.mp4", [0.0, 1.0]),
    ]


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ({}, {}, "has no trainingSet.csv or trainingSet.txt"),
        (
            {"moments_categories.txt": "clapping\n"},
            {},
            r"categories.txt, line 1: 'clapping' is not a class name",
        ),
        ({"trainingSet.csv": "a.mp4\n"}, {}, "trainingSet.csv, line 1: 'a.mp4' has no label"),
        (
            {"trainingSet.csv": "a.mp4,dancing,1,0\n"},
            {},
            "line 1: class 'dancing' is not in .*categories.txt",
        ),
        ({"trainingSet.csv": "a.mp4,7\n"}, {"multi_label": True}, "line 1: '7' is not a class index"),
        ({"trainingSet.csv": ""}, {}, "contains no video of the split 'train'"),
    ],
)
def test_moments_names_the_fault(tmp_path: Path, texts: dict, options: dict, message: str) -> None:
    lay_out(tmp_path, CATEGORIES | texts)
    with pytest.raises(AnnotationError, match=message):
        read("moments", tmp_path, **options)
