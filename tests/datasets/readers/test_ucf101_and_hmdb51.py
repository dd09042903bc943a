"""The readers of UCF101 and HMDB51 on data sets with the files of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.errors import AnnotationError
from tests.support.reading.data_sets import lay_out, read, read_class_names


def test_ucf101_lists_are_read(tmp_path: Path) -> None:
    texts = {
        "ucfTrainTestlist/classInd.txt": "1 ApplyEyeMakeup\r\n2 YoYo\r\n",
        "ucfTrainTestlist/trainlist02.txt": "YoYo/v_YoYo_g08_c01.avi 2\n",
        "ucfTrainTestlist/testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n",
    }
    videos = ["YoYo/v_YoYo_g08_c01.avi", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"]
    lay_out(tmp_path, texts, [f"UCF-101/{video}" for video in videos])
    assert read("ucf101", tmp_path, fold=2) == [(f"UCF-101/{videos[0]}", 1)]
    assert read("ucf101", tmp_path, "test", fold=2) == [(f"UCF-101/{videos[1]}", 0)]
    (tmp_path / "ucfTrainTestlist/trainlist02.txt").rename(tmp_path / "ucfTrainTestlist/trainlist01.txt")
    assert read_class_names("ucf101", tmp_path) == ("ApplyEyeMakeup", "YoYo")
    (tmp_path / "ucfTrainTestlist/trainlist01.txt").unlink()
    with pytest.raises(AnnotationError, match=r"has no trainlist01.txt or ucfTrainTestlist/trainlist01.txt"):
        read("ucf101", tmp_path)


def test_ucf101_names_the_fault(tmp_path: Path) -> None:
    texts = {"classInd.txt": "1 A\n2 B\n", "trainlist01.txt": "A/v.avi 1\nC/v.avi 3\n"}
    with pytest.raises(AnnotationError, match=r"trainlist01.txt, line 2: class 'C' is not in .*classInd.txt"):
        read("ucf101", lay_out(tmp_path, texts))
    with pytest.raises(AnnotationError, match=r"classInd.txt, line 1: 'A' must be a number from 1"):
        read("ucf101", lay_out(tmp_path, {"classInd.txt": "A\n"}))


def test_hmdb51_lists_are_read(tmp_path: Path) -> None:
    lists = "testTrainMulti_7030_splits"
    texts = {
        f"{lists}/brush_hair_test_split1.txt": "a b.avi 1 \nunused.avi 0 \n",
        f"{lists}/wave_test_split1.txt": "c.avi 2 \nd.avi 1 \n",
    }
    lay_out(tmp_path, texts, ["brush_hair/a b.avi", "wave/c.avi", "wave/d.avi"])
    assert read("hmdb51", tmp_path) == [("brush_hair/a b.avi", 0), ("wave/d.avi", 1)]
    assert read("hmdb51", tmp_path, "val") == [("wave/c.avi", 1)]


def test_hmdb51_names_the_fault(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"has no CLASS_test_split3.txt; check .* DATA.FOLD"):
        read("hmdb51", tmp_path, fold=3)
    texts = {"a_test_split1.txt": "x.avi 1\n", "b_test_split1.txt": "y.avi 7\n"}
    with pytest.raises(
        AnnotationError, match=r"b_test_split1.txt, line 1: 'y.avi 7' must be a file name and 0, 1 or 2"
    ):
        read("hmdb51", lay_out(tmp_path, texts))
