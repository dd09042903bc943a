"""The reader of Kinetics on a data set with the files of the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slowfast.datasets.build import DATASET_REGISTRY
from slowfast.datasets.readers import READERS
from slowfast.errors import AnnotationError
from tests.support.reading.data_sets import lay_out, read


def test_each_reader_is_registered_under_its_data_set() -> None:
    assert set(READERS) <= set(DATASET_REGISTRY)


KINETICS_HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.mark.parametrize("layout", ["{}", "train/{}", "riding a bike/{}", "train/riding_a_bike/{}"])
def test_kinetics_official_list_is_read(tmp_path: Path, layout: str) -> None:
    video = layout.format("--abc_D-1_000010_000020.mp4")
    texts = {
        "train.csv": KINETICS_HEADER + '"riding a bike",--abc_D-1,10,20,train\n',
        "val.csv": KINETICS_HEADER + "abseiling,xyz,0,10,val\n",
        "test.csv": "youtube_id,time_start,time_end,split\nqqq,0,10,test\n",
    }
    folder = lay_out(tmp_path, texts, [video])
    # Indices count the classes of all lists: "abseiling" is 0, although this list lacks it.
    assert read("kinetics", folder) == [(video, 1)]


def test_kinetics_path_label_list_is_read(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, {"val.csv": "a.mp4 1\n"}, ["a.mp4"])
    assert read("kinetics", folder, "val", prefix=str(folder)) == [("a.mp4", 1)]


def test_kinetics_classes_json_orders_a_subset(tmp_path: Path) -> None:
    texts = {
        "train.csv": KINETICS_HEADER + "zumba,abc,0,10,train\n",
        "classes.json": json.dumps({"zumba": 7, "yoga": 3}),
    }
    folder = lay_out(tmp_path, texts, ["abc_000000_000010.mp4"])
    assert read("kinetics", folder, num_classes=400) == [("abc_000000_000010.mp4", 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KINETICS_HEADER + "a,abc,0,10,train\nb,abc,zero,10,train\n", r"train.csv, line 3: .*does not fit"),
        (KINETICS_HEADER + "a,abc\n", r"train.csv, line 2: 'a,abc' does not fit the header"),
        ("youtube_id,time_start,time_end,split\nabc,0,10,train\n", r"line 1: lacks the column 'label'"),
        (KINETICS_HEADER + "a,abc,0,10,train\n", r"has 1 class, but MODEL.NUM_CLASSES is 2; .*classes.json"),
        (KINETICS_HEADER, "has 0 classes"),
        (
            KINETICS_HEADER + "a,abc,0,10,train\nb,d,0,10,train\n",
            r"looked for abc_000000_000010.mp4, train/abc",
        ),
    ],
)
def test_kinetics_names_the_fault(tmp_path: Path, text: str, message: str) -> None:
    folder = lay_out(tmp_path, {"train.csv": text})
    with pytest.raises(AnnotationError, match=message):
        read("kinetics", folder)
