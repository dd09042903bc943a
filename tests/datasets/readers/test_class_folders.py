"""The reader of folders of videos per class."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slowfast.datasets.readers import READERS, AnnotationSource
from slowfast.errors import AnnotationError
from slowfast.features.build import build_feature_names
from tests.support.reading.data_sets import SPLITS, lay_out, read, read_class_names, reader_config
from tests.support.videos import write_video


def test_videofolder_takes_classes_from_folders(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {"train/wave/readme.txt": "", "train/wave/.hidden.mp4": ""},
        ["train/wave/deep/a.mp4", "train/bow/b.MP4"],
    )
    assert read("videofolder", tmp_path) == [("train/bow/b.MP4", 0), ("train/wave/deep/a.mp4", 1)]
    assert read_class_names("videofolder", tmp_path) == ("bow", "wave")
    lay_out(tmp_path, {"classes.json": '{"wave": 0, "bow": 2}'})
    assert read_class_names("videofolder", tmp_path, num_classes=3) == (), "one class has no name"


def test_videofolder_names_the_fault(tmp_path: Path) -> None:
    lay_out(tmp_path, {}, ["train/wave/a.mp4"])
    with pytest.raises(AnnotationError, match=r"val: cannot be read .*one folder of videos per class"):
        read("videofolder", tmp_path, "val")
    with pytest.raises(AnnotationError, match=r"has 1 class, but MODEL.NUM_CLASSES is 2"):
        read("videofolder", tmp_path)
    lay_out(tmp_path, {"classes.json": '{"wave": 2}'})
    with pytest.raises(AnnotationError, match=r"classes.json: .*'wave' = 2 is not an index of 0 to 1"):
        read("videofolder", tmp_path)
    lay_out(tmp_path, {"classes.json": '{"wave": [1]}'})
    with pytest.raises(AnnotationError, match=r"classes.json: .*'wave' = \[1\] is not an index of 0 to 1"):
        read("videofolder", tmp_path)


def test_videofolder_gives_equal_names_of_two_splits_different_features(tmp_path: Path) -> None:
    texts = {f"{split}/wave/0001.mp4": "" for split in SPLITS}
    lay_out(tmp_path, texts)
    named = []
    for split in SPLITS:
        found = READERS["videofolder"](AnnotationSource(str(tmp_path), split, 1, prefix="/elsewhere"))
        named += map(build_feature_names(reader_config(tmp_path, "videofolder"), found), found.paths)
    assert named == list(texts)


def test_videofolder_counts_the_classes_of_all_splits(tmp_path: Path) -> None:
    names = ["train/bow/a.mp4", "train/wave/a.mp4", "val/wave/a.mp4", "val/.ipynb_checkpoints/a.mp4"]
    lay_out(tmp_path, dict.fromkeys(names, ""))
    assert read("videofolder", tmp_path) == [("train/bow/a.mp4", 0), ("train/wave/a.mp4", 1)]
    assert read("videofolder", tmp_path, "val") == [("val/wave/a.mp4", 1)]
    lay_out(tmp_path, {"val/jump/a.mp4": ""})
    with pytest.raises(AnnotationError, match=r"\(train, val\): has 3 classes, .* set it to 3, or write"):
        read("videofolder", tmp_path)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        *((suffix, {}) for suffix in (".ts", ".MTS", ".m2ts", ".flv", ".asf", ".mkv", ".m2v", ".mpg")),
        (".ogv", {"codec": "libvpx", "container_format": "ogg"}),
        (".mxf", {"codec": "mpeg2video", "size": (64, 64)}),
        (".vob", {"codec": "mpeg2video"}),
        (".3gp", {"container_format": "mp4"}),
        (".qqq", {"container_format": "matroska"}),
        ("", {"container_format": "mp4"}),
    ],
)
def test_videofolder_reads_all_that_decodes(tmp_path: Path, suffix: str, options: dict) -> None:
    codecs = {".m2v": "mpeg2video", ".mpg": "mpeg2video", ".flv": "flv", ".asf": "mpeg4"}
    (tmp_path / "train" / "bow").mkdir(parents=True)
    options = {"codec": codecs.get(suffix, "libx264")} | options
    write_video(tmp_path / "train" / "bow" / f"a{suffix}", 12, **options)
    assert read("videofolder", tmp_path, num_classes=1) == [(f"train/bow/a{suffix}", 0)]


def test_videofolder_counts_the_files_that_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = dict.fromkeys(["a.jpg", "b.jpg", "readme.txt", "c.wav", "d.unknown", "deep/e"], "no video")
    lay_out(tmp_path, {f"train/bow/{name}": text for name, text in others.items()}, ["train/bow/v.mp4"])
    with caplog.at_level("WARNING", logger="slowfast"):
        assert read("videofolder", tmp_path, num_classes=1) == [("train/bow/v.mp4", 0)]
    assert (
        f"{tmp_path}/train: left out, because they are not videos of a class: 6 files such as 'bow/a.jpg' "
        "(2 .jpg, 1 .txt, 1 .unknown, 1 .wav, 1 without suffix)" in caplog.text
    )


def test_a_class_without_videos_is_an_error(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train/wave/notes.txt": ""}, ["train/bow/v.mp4"])
    with pytest.raises(AnnotationError, match=r"train/wave: this class .* only 1 file such as 'notes.txt'"):
        read("videofolder", tmp_path)
    (tmp_path / "train/wave/notes.txt").unlink()
    with pytest.raises(AnnotationError, match=r"train/wave: this class .* no files; add videos or remove"):
        read("videofolder", tmp_path)


def test_videos_beside_the_class_folders_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(
        tmp_path, {"train/notes.txt": "", "train/__MACOSX/._v.mp4": ""}, ["train/bow/v.mp4", "train/v.mp4"]
    )
    (tmp_path / "train/wave").symlink_to(tmp_path / "gone")
    with caplog.at_level("WARNING", logger="slowfast"):
        assert read("videofolder", tmp_path, num_classes=1) == [("train/bow/v.mp4", 0)]
    assert "train: left out, because they are not videos of a class: 2 files such as 'v.mp4'" in caplog.text


def test_a_folder_of_videos_without_classes_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, {}, ["train/a.mp4"])
    with pytest.raises(AnnotationError, match=r"\(train\): has 0 classes; each class needs a folder"):
        read("videofolder", tmp_path)


def test_two_classes_with_one_index_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(tmp_path, {"classes.json": '{"bow": 1, "wave": 1}'}, ["train/bow/v.mp4", "train/wave/v.mp4"])
    with caplog.at_level("WARNING", logger="slowfast"):
        assert read("videofolder", tmp_path) == [("train/bow/v.mp4", 1), ("train/wave/v.mp4", 1)]
    assert "classes.json: the classes ['bow', 'wave'] are one class, with the index 1" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    lay_out(tmp_path, {}, ["train/bow/v.mp4"])
    (tmp_path / "classes.json").write_bytes(json.dumps({"bow": 3, "wäve": 0}).encode(encoding))
    assert read("videofolder", tmp_path, num_classes=4) == [("train/bow/v.mp4", 3)]
