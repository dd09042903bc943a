"""Official lists with a slip in them: refused with file and line, never read as other videos or classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from slowfast.datasets.readers import READERS, AnnotationSource
from slowfast.errors import AnnotationError
from tests.support.reading.data_sets import lay_out

KINETICS = "label,youtube_id,time_start,time_end,split\n"
MOMENTS = {"moments_categories.txt": "clapping,0\nsinging,1\n"}
TEMPLATES = {"labels.json": json.dumps({"Putting something": "1", "Folding something": "0"})}


def read(
    name: str, folder: Path, texts: Mapping[str, str], split: str = "train", **options
) -> list[tuple[str, int]]:
    """Writes the texts of lists and empty videos below a folder; returns name and label of each video."""
    lay_out(folder, texts)
    found = READERS[name](AnnotationSource(str(folder), split, 2, **options))
    return list(zip((Path(path).name for path in found.paths), found.labels().tolist(), strict=True))


def no_videos(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "")


UNBALANCED = {
    "kinetics": (
        "kinetics",
        "train",
        {"train.csv": KINETICS + 'a,x,1,11,"train\nb,y,2,12,train\na,z,3,13,train\n'},
        r"train\.csv, line 2: 'a,x,1,11,\"train' is not valid csv \(.*\); close each quote in its line",
    ),
    "kinetics, closed later": (
        "kinetics",
        "train",
        {"train.csv": KINETICS + 'a,x,1,11,"train\nb,y,2,12,train"\n'},
        r"train\.csv, line 2: ",
    ),
    "kinetics, text after the quote": (
        "kinetics",
        "train",
        {"train.csv": KINETICS + 'a,x,1,11,train\n"b" c,y,2,12,train\n'},
        r"train\.csv, line 3: .* is not valid csv",
    ),
    "moments": (
        "moments",
        "train",
        MOMENTS | {"trainingSet.csv": 'a.mp4,clapping,"3,0\nb.mp4,singing,3,0\n'},
        r"trainingSet\.csv, line 1: ",
    ),
    "test answers": (
        "ssv2",
        "test",
        TEMPLATES | {"test-answers.csv": '1;Folding something\n2;"Putting something\n3;Folding something\n'},
        r"test-answers\.csv, line 2: ",
    ),
}


@pytest.mark.parametrize(("name", "split", "texts", "message"), UNBALANCED.values(), ids=UNBALANCED)
def test_a_quote_that_is_not_closed_does_not_hide_the_lines_after_it(
    tmp_path: Path, name: str, split: str, texts: dict[str, str], message: str
) -> None:
    videos = no_videos("x_000001_000011.mp4", "training/a.mp4", "1.webm")
    with pytest.raises(AnnotationError, match=message):
        read(name, tmp_path, texts | videos, split)


def test_quoted_cells_may_be_padded(tmp_path: Path) -> None:
    rows = '"a, ""b"" c" , x, 1, 11,train\n c, "y" ,2,12,"train"\n'
    found = read("kinetics", tmp_path, {"train.csv": KINETICS + rows} | no_videos("y_000002_000012.mp4"))
    assert found == [("x_000001_000011.mp4", 0), ("y_000002_000012.mp4", 1)]


LONG = "1" * 5000
NOT_INDICES = {
    "ssv2": ("ssv2", {"labels.json": '{"A": "²"}'}, r"labels\.json: 'A' has '²', which is not a class index"),
    "ssv2, a long number": ("ssv2", {"labels.json": f'{{"A": {LONG}}}'}, r"labels\.json: is not valid json"),
    "ssv2, a long text": ("ssv2", {"labels.json": f'{{"A": "{LONG}"}}'}, "which is not a class index"),
    "ssv2, nested": (
        "ssv2",
        TEMPLATES | {"train.json": "[" * 200_000},
        r"train\.json: is not valid json \((maximum recursion depth|Stack overflow)",
    ),
    "ssv2, half a character": (
        "ssv2",
        TEMPLATES | {"train.json": json.dumps([{"id": "\ud83d", "template": "Folding something"}])},
        r"train\.json: is not UTF-8 text",
    ),
    "ucf101": (
        "ucf101",
        {"classInd.txt": "1 A\n² B\n"},
        r"classInd\.txt, line 2: '² B' must be a number from 1 on",
    ),
    "ucf101, zero": ("ucf101", {"classInd.txt": "0 A\n"}, "line 1: '0 A' must be a number from 1 on"),
    "moments": (
        "moments",
        {"moments_categories.txt": "clapping,0\nsinging,²\n"},
        r"moments_categories\.txt, line 2: 'singing,²' is not a class name, a comma and an index",
    ),
    "moments, several labels": (
        "moments",
        MOMENTS | {"trainingSet.csv": f"a.mp4,0,{LONG}\n"},
        r"trainingSet\.csv, line 1: '1+' is not a class index",
    ),
    "path label": (
        "kinetics",
        {"train.csv": f"a.mp4 0\na.mp4 {LONG}\n"},
        r"train\.csv, line 2: .*wrong label",
    ),
}


@pytest.mark.parametrize(("name", "texts", "message"), NOT_INDICES.values(), ids=NOT_INDICES)
def test_digits_that_are_not_an_index_are_refused(
    tmp_path: Path, name: str, texts: dict[str, str], message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(name, tmp_path, texts, multi_label=name == "moments")


TWICE = {
    "ucf101": (
        "ucf101",
        {"classInd.txt": "1 A\n2 B\n1 B\n"},
        r"line 3: '1 B' gives the class 'B' a second index",
    ),
    "moments": (
        "moments",
        {"moments_categories.txt": "clapping,0\nsinging,1\nclapping,1\n"},
        r"moments_categories\.txt, line 3: 'clapping,1' gives the class 'clapping' a second index; keep one",
    ),
    "ssv2": ("ssv2", {"labels.json": '{"A": "0", "B": "1", "A": "1"}'}, "the key 'A' is there twice"),
    "classes.json": (
        "videofolder",
        {"classes.json": '{"A": 0, "B": 1, "A": 1}', "train/A/v.mp4": ""},
        r"classes\.json: is not valid json \(the key 'A' is there twice\)",
    ),
}


@pytest.mark.parametrize(("name", "texts", "message"), TWICE.values(), ids=TWICE)
def test_a_class_with_two_indices_is_refused(
    tmp_path: Path, name: str, texts: dict[str, str], message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(name, tmp_path, texts)


def test_a_class_may_be_listed_twice_with_one_index(tmp_path: Path) -> None:
    texts = {"classInd.txt": "1 A\n2 B\n2 B\n", "trainlist01.txt": "B/v.avi 2\n", "B/v.avi": ""}
    assert read("ucf101", tmp_path, texts) == [("v.avi", 1)]


@pytest.mark.parametrize(
    "header",
    [
        '"label","youtube_id","time_start","time_end","split"\n',
        " label, youtube_id , time_start,time_end,split\n",
        'label , "youtube_id" ,"time_start", time_end,split\n',
    ],
)
def test_the_header_of_an_official_list_may_be_quoted_and_padded(tmp_path: Path, header: str) -> None:
    texts = {"train.csv": header + "a,x,1,11,train\n", "val.csv": header + "b,y,1,11,val\n"}
    assert read("kinetics", tmp_path, texts | no_videos("x_000001_000011.mp4")) == [
        ("x_000001_000011.mp4", 0)
    ]
