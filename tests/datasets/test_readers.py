"""Each reader on a data set with the files of the real one; videos have a few real frames each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from slowfast.datasets.build import DATASET_REGISTRY, build_dataset
from slowfast.datasets.clip import BrokenVideo, Clip
from slowfast.datasets.readers import READERS, AnnotationSource
from slowfast.errors import AnnotationError, ConfigError, DecodeError
from slowfast.features.build import build_feature_names
from slowfast.video.image_folder import ImageFolder
from tests.support.configs import make_config
from tests.support.videos import read_stamps, stamp, write_video

SPLITS = ("train", "val", "test")


def lay_out(folder: Path, texts: Mapping[str, str], videos: list[str]) -> Path:
    """Writes text files and videos (32 × 32, 6 stamped frames) below a folder."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in videos:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        codec = {".webm": "libvpx", ".avi": "mpeg4"}.get(Path(name).suffix, "libx264")
        write_video(folder / name, 6, size=(32, 32), codec=codec)
    return folder


def read(
    name: str, folder: Path, split: str = "train", num_classes: int = 2, **options
) -> list[tuple[str, int]]:
    """Returns (path relative to the folder, label) of each video, and asserts that each file exists."""
    found = READERS[name](AnnotationSource(str(folder), split, num_classes, **options))
    assert all(Path(path).exists() for path in found.paths)
    paths = [str(Path(path).relative_to(folder)) for path in found.paths]
    return list(zip(paths, found.labels().tolist(), strict=True))


def test_each_reader_is_registered_under_its_data_set() -> None:
    assert set(READERS) <= set(DATASET_REGISTRY)


# ---------------------------------------------------------------------------------------------- kinetics

KINETICS_HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.mark.parametrize("layout", ["{}", "train/{}", "riding a bike/{}", "train/riding_a_bike/{}"])
def test_kinetics_official_list(tmp_path: Path, layout: str) -> None:
    video = layout.format("--abc_D-1_000010_000020.mp4")
    texts = {
        "train.csv": KINETICS_HEADER + '"riding a bike",--abc_D-1,10,20,train\n',
        "val.csv": KINETICS_HEADER + "abseiling,xyz,0,10,val\n",
        "test.csv": "youtube_id,time_start,time_end,split\nqqq,0,10,test\n",
    }
    folder = lay_out(tmp_path, texts, [video])
    # Indices count the classes of all lists: "abseiling" is 0, although this list lacks it.
    assert read("kinetics", folder) == [(video, 1)]


def test_kinetics_path_label_list(tmp_path: Path) -> None:
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
        (
            KINETICS_HEADER + "a,abc,0,10,train\n",
            r"has 1 class, but MODEL.NUM_CLASSES is 2; .*classes.json",
        ),
        (KINETICS_HEADER, "has 0 classes"),
        (
            KINETICS_HEADER + "a,abc,0,10,train\nb,d,0,10,train\n",
            r"looked for abc_000000_000010.mp4, train/abc",
        ),
    ],
)
def test_kinetics_names_the_fault(tmp_path: Path, text: str, message: str) -> None:
    folder = lay_out(tmp_path, {"train.csv": text}, [])
    with pytest.raises(AnnotationError, match=message):
        read("kinetics", folder)


# ----------------------------------------------------------------------------------------------- moments

CATEGORIES = {"moments_categories.txt": "clapping,0\nadult+female+singing,1\n"}


@pytest.mark.parametrize("split", SPLITS)
def test_moments(tmp_path: Path, split: str) -> None:
    name, folder = ("trainingSet", "training") if split == "train" else ("validationSet", "validation")
    video = "adult+female+singing/flickr-0-4-2.mp4"
    texts = CATEGORIES | {f"{name}.csv": f"{video},adult+female+singing,3,0\n"}
    lay_out(tmp_path, texts, [f"{folder}/{video}"])
    assert read("moments", tmp_path, split) == [(f"{folder}/{video}", 1)]


def test_moments_with_several_labels(tmp_path: Path) -> None:
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
    lay_out(tmp_path, CATEGORIES | texts, [])
    with pytest.raises(AnnotationError, match=message):
        read("moments", tmp_path, **options)


# ------------------------------------------------------------------------------------------------- ssv2

TEMPLATES = json.dumps(
    {"Putting something into something": "1", "Approaching something with your camera": "0"}
)


def entry(video: str, template: str = "Putting [something] into [something]") -> dict[str, object]:
    return {
        "id": video,
        "label": "putting pen into cup",
        "template": template,
        "placeholders": ["pen", "cup"],
    }


def test_ssv2_first_release(tmp_path: Path) -> None:
    texts = {
        "something-something-v2-labels.json": TEMPLATES,
        "something-something-v2-train.json": json.dumps([entry("78687")]),
        "something-something-v2-validation.json": json.dumps(
            [entry("5", "Approaching [something] with your camera")]
        ),
    }
    lay_out(tmp_path, texts, ["20bn-something-something-v2/78687.webm", "20bn-something-something-v2/5.webm"])
    assert read("ssv2", tmp_path) == [("20bn-something-something-v2/78687.webm", 1)]
    assert (
        read("ssv2", tmp_path, "val")
        == read("ssv2", tmp_path, "test")
        == [("20bn-something-something-v2/5.webm", 0)]
    )


def test_ssv2_current_release_has_labels_of_its_test_set(tmp_path: Path) -> None:
    texts = {
        "labels/labels.json": TEMPLATES,
        "labels/validation.json": json.dumps([entry("1")]),
        "labels/test-answers.csv": "2;Approaching something with your camera\n",
    }
    lay_out(tmp_path, texts, ["2.webm"])
    assert read("ssv2", tmp_path, "test") == [("2.webm", 0)]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("[{]", "train.json, line 1: is not valid json"),
        ("{}", "train.json: contains a dict; it must be a list"),
        (
            json.dumps([entry("1"), {"id": "2"}]),
            "train.json, entry 2: lacks 'id' or 'template'; is it test.json",
        ),
        (
            json.dumps([entry("1", "Eating [something]")]),
            "train.json, entry 1: class 'Eating something' is not in",
        ),
    ],
)
def test_ssv2_names_the_fault(tmp_path: Path, train: str, message: str) -> None:
    lay_out(tmp_path, {"labels.json": TEMPLATES, "train.json": train}, [])
    with pytest.raises(AnnotationError, match=message):
        read("ssv2", tmp_path)


# -------------------------------------------------------------------------------------- ucf101 and hmdb51


def test_ucf101(tmp_path: Path) -> None:
    texts = {
        "ucfTrainTestlist/classInd.txt": "1 ApplyEyeMakeup\r\n2 YoYo\r\n",
        "ucfTrainTestlist/trainlist02.txt": "YoYo/v_YoYo_g08_c01.avi 2\n",
        "ucfTrainTestlist/testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n",
    }
    videos = ["YoYo/v_YoYo_g08_c01.avi", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"]
    lay_out(tmp_path, texts, [f"UCF-101/{video}" for video in videos])
    assert read("ucf101", tmp_path, fold=2) == [(f"UCF-101/{videos[0]}", 1)]
    assert read("ucf101", tmp_path, "test", fold=2) == [(f"UCF-101/{videos[1]}", 0)]
    with pytest.raises(AnnotationError, match=r"has no trainlist01.txt or ucfTrainTestlist/trainlist01.txt"):
        read("ucf101", tmp_path)


def test_ucf101_names_the_fault(tmp_path: Path) -> None:
    texts = {"classInd.txt": "1 A\n2 B\n", "trainlist01.txt": "A/v.avi 1\nC/v.avi 3\n"}
    with pytest.raises(AnnotationError, match=r"trainlist01.txt, line 2: class 'C' is not in .*classInd.txt"):
        read("ucf101", lay_out(tmp_path, texts, []))
    with pytest.raises(AnnotationError, match=r"classInd.txt, line 1: 'A' must be a number from 1"):
        read("ucf101", lay_out(tmp_path, {"classInd.txt": "A\n"}, []))


def test_hmdb51(tmp_path: Path) -> None:
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
        read("hmdb51", lay_out(tmp_path, texts, []))


# ------------------------------------------------------------------------------------------- videofolder


def test_videofolder(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {"train/wave/readme.txt": "", "train/wave/.hidden.mp4": ""},
        ["train/wave/deep/a.mp4", "train/bow/b.MP4"],
    )
    assert read("videofolder", tmp_path) == [("train/bow/b.MP4", 0), ("train/wave/deep/a.mp4", 1)]


def test_videofolder_names_the_fault(tmp_path: Path) -> None:
    lay_out(tmp_path, {}, ["train/wave/a.mp4"])
    with pytest.raises(AnnotationError, match=r"val: cannot be read .*one folder of videos per class"):
        read("videofolder", tmp_path, "val")
    with pytest.raises(AnnotationError, match=r"has 1 class, but MODEL.NUM_CLASSES is 2"):
        read("videofolder", tmp_path)
    lay_out(tmp_path, {"classes.json": '{"wave": 2}'}, [])
    with pytest.raises(AnnotationError, match=r"classes.json: .*'wave' = 2 is not an index of 0 to 1"):
        read("videofolder", tmp_path)


def test_videofolder_gives_equal_names_of_two_splits_different_features(tmp_path: Path) -> None:
    texts = {f"{split}/wave/0001.mp4": "" for split in SPLITS}
    lay_out(tmp_path, texts, [])
    named = []
    for split in SPLITS:
        found = READERS["videofolder"](AnnotationSource(str(tmp_path), split, 1, prefix="/elsewhere"))
        named += map(build_feature_names(config(tmp_path, "videofolder"), found), found.paths)
    assert named == list(texts)


def test_videofolder_counts_the_classes_of_all_splits(tmp_path: Path) -> None:
    names = ["train/bow/a.mp4", "train/wave/a.mp4", "val/wave/a.mp4", "val/.ipynb_checkpoints/a.mp4"]
    lay_out(tmp_path, dict.fromkeys(names, ""), [])
    assert read("videofolder", tmp_path) == [("train/bow/a.mp4", 0), ("train/wave/a.mp4", 1)]
    assert read("videofolder", tmp_path, "val") == [("val/wave/a.mp4", 1)]
    lay_out(tmp_path, {"val/jump/a.mp4": ""}, [])
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


# ---------------------------------------------------------------------------------------------- frames


def write_images(folder: Path, *names: str) -> None:
    """Writes an image (32 × 32) for each name, stamped with the last number of the name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        number = int(re.findall(r"\d+", Path(name).stem)[-1])
        Image.fromarray(stamp(number, 64, 64)).save(folder / name)


SEQUENCES = {
    "optical flow": [*(f"img_{i:05d}.png" for i in (1, 2, 3)), *(f"flow_x_{i:05d}.png" for i in (1, 2))],
    "depth": [*(f"img_{i:05d}.png" for i in (1, 2, 3)), *(f"depth{i}.png" for i in (1, 2, 3))],
    "masks": [*(f"img_{i:05d}.png" for i in (1, 2, 3)), *(f"img_{i:05d}_mask.png" for i in (1, 2, 3))],
    "two types": [*(f"img_{i:05d}.png" for i in (1, 2, 3)), *(f"img_{i:05d}.bmp" for i in (1, 2, 3))],
    "a thumbnail": [*(f"img_{i:05d}.png" for i in (1, 2, 3)), "thumb0.png"],
}


@pytest.mark.parametrize("names", SEQUENCES.values(), ids=SEQUENCES)
def test_several_sequences_of_images_need_a_template(tmp_path: Path, names: list[str]) -> None:
    write_images(tmp_path / "video_a", *names)
    lay_out(tmp_path, {"val.csv": "video_a 1\n"}, [])
    cfg = config(tmp_path, "frames")
    with pytest.raises(AnnotationError, match=r"several image seq.* and .*DATA.IMAGE_TEMPLATE") as caught:
        build_dataset(cfg, "val")
    families = {re.sub(r"\d+", "", name) for name in names}
    assert all(min(n for n in names if re.sub(r"\d+", "", n) == f) in str(caught.value) for f in families)
    with pytest.raises(DecodeError, match="several image sequences"):
        ImageFolder(str(tmp_path / "video_a"), 25.0)
    cfg.DATA.IMAGE_TEMPLATE = "img_{:05d}.png"
    assert stamps(build_dataset(cfg, "val")[0]) == [1, 2, 3]


@pytest.mark.parametrize(
    "names",
    [
        ["1.png", "2.png", "10.png"],
        ["img_1.png", "img_2.bmp", "img_10.png"],
        ["2024-01-01_1.png", "2024-01-02_2.png", "2024-02-01_10.png"],
    ],
    ids=["numbers", "types with different numbers", "dates"],
)
def test_one_sequence_of_images_needs_no_template(tmp_path: Path, names: list[str]) -> None:
    write_images(tmp_path / "video_a", *names)
    lay_out(tmp_path, {"val.csv": "video_a 1\n"}, [])
    assert stamps(build_dataset(config(tmp_path, "frames"), "val")[0]) == [1, 2, 10]


def test_numbers_that_restart_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "video_a", "cam1_1.png", "cam1_2.png", "cam2_1.png", "cam2_2.png")
    lay_out(tmp_path, {"val.csv": "video_a 1\n"}, [])
    cfg = config(tmp_path, "frames")
    with caplog.at_level("WARNING", logger="slowfast"):
        build_dataset(cfg, "val")
    assert "4 images from cam1_1.png to cam2_2.png, but the numbers restart at cam2_1.png" in caplog.text
    caplog.clear()
    cfg.DATA.IMAGE_TEMPLATE = "cam2_{}.png"
    with caplog.at_level("WARNING", logger="slowfast"):
        assert stamps(build_dataset(cfg, "val")[0]) == [1, 2]
    assert "restart" not in caplog.text


@pytest.mark.parametrize(
    ("names", "template", "numbers"),
    [
        (["img_00001.png", "img_00002.png", "img_00005.png"], "", [1, 2, 5]),
        (["img_00000.png", "img_00001.png"], "img_{:05d}.png", [0, 1]),
        (["IMG_9.PNG", "IMG_10.PNG"], "", [9, 10]),
        (["IMG_9.PNG", "IMG_10.PNG"], "IMG_{}.PNG", [9, 10]),
        (["9.png", "10.png", "flow_9.png"], "{}.png", [9, 10]),
        (["img_1.png", ".img_2.png", "img_3.webp"], "", [1, 3]),
    ],
    ids=["gap", "from zero", "upper case", "template of upper case", "no leading zeros", "other files"],
)
def test_images_are_read_in_the_order_of_their_numbers(
    tmp_path: Path, names: list[str], template: str, numbers: list[int]
) -> None:
    write_images(tmp_path / "video_a", *names)
    (tmp_path / "video_a/notes.txt").touch()
    lay_out(tmp_path, {"val.csv": "video_a 1\n"}, [])
    cfg = config(tmp_path, "frames")
    cfg.DATA.IMAGE_TEMPLATE = template
    assert stamps(build_dataset(cfg, "val")[0]) == numbers


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("img_.jpg", "has no field for the number"),
        ("img_{:05d.jpg", "is not a format of image names"),
        ("img_{:05d}", "does not end as images do"),
        ("img_%05d.jpg", "has no field for the number"),
    ],
)
def test_a_wrong_template_is_refused(tmp_path: Path, template: str, message: str) -> None:
    lay_out(tmp_path, {"val.csv": "video_a 1\n"}, [])
    cfg = config(tmp_path, "frames")
    cfg.DATA.IMAGE_TEMPLATE = template
    with pytest.raises(ConfigError, match=rf"DATA.IMAGE_TEMPLATE = .*{message}"):
        build_dataset(cfg, "val")


def test_a_folder_without_images_of_the_template_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "video_a", "frame_1.png")
    lay_out(tmp_path, {"val.csv": "video_a 1\n"}, [])
    cfg = config(tmp_path, "frames")
    cfg.DATA.IMAGE_TEMPLATE = "img_{:05d}.png"
    broken = build_dataset(cfg, "val")[0]
    assert broken.reason == "no frames"
    assert "img_{:05d}.png (DATA.IMAGE_TEMPLATE)" in broken.detail


# ------------------------------------------------------------- through the config to clips: frames, segments


def config(folder: Path, dataset: str) -> CfgNode:
    values = {
        "TRAIN.DATASET": dataset, "DATA.PATH_TO_DATA_DIR": str(folder), "DATA.PATH_PREFIX": str(folder),
        "MODEL.NUM_CLASSES": 2, "DATA.NUM_FRAMES": 4, "DATA.SAMPLING_RATE": 1, "DATA.TARGET_FPS": 25,
        "DATA.TRAIN_JITTER_SCALES": [64, 64], "DATA.TEST_CROP_SIZE": 64, "TRAIN.EVAL_FULL_VIDEO": True,
    }  # fmt: skip
    return make_config(values, checked=False)


def stamps(clip: Clip | BrokenVideo) -> list[int]:
    assert isinstance(clip, Clip)
    return read_stamps(clip.frames.permute(1, 2, 3, 0).numpy())


def test_frames_are_images_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / "video_a").mkdir(exist_ok=True)
        Image.fromarray(stamp(number)).save(
            tmp_path / "video_a" / f"img_{number}.{'png' if number % 2 else 'jpg'}"
        )
        # macOS writes such a file beside each file on disks of other systems.
        (tmp_path / "video_a" / f"._img_{number}.jpg").write_bytes(b"\0\5\x16\7")
    lay_out(tmp_path, {"val.csv": "video_a 1\nmissing 0\nempty 0\n", "empty/readme.txt": "no image"}, [])
    cfg = config(tmp_path, "frames")
    cfg.DATA.IMAGE_FPS = 12.5
    dataset = build_dataset(cfg, "val", position_rate=25.0)
    clip = dataset[0]
    assert stamps(clip) == list(range(12))
    assert clip.positions.tolist() == list(range(0, 24, 2))
    assert [(dataset[i].reason, dataset[i].video_id) for i in (1, 2)] == [("missing", 1), ("no frames", 2)]


def test_a_video_with_a_damaged_image_is_broken(tmp_path: Path) -> None:
    lay_out(tmp_path, {"val.csv": "video_a 1\n", "video_a/1.jpg": "no picture"}, [])
    broken = build_dataset(config(tmp_path, "frames"), "val")[0]
    assert (broken.reason, "1.jpg" in broken.detail) == ("corrupt", True)


def test_a_segment_is_read_as_the_video_cut_out(tmp_path: Path) -> None:
    """Compares frames 10 to 19 of a file with a file of only these frames."""
    write_video(tmp_path / "long.mp4", 40, bf="2")
    write_video(tmp_path / "cut.mp4", [stamp(i) for i in range(10, 20)])
    lay_out(
        tmp_path,
        {"val.csv": "path label start end\nlong.mp4 1 0.4 0.8\ncut.mp4 1 0 9\nlong.mp4 1 1.6 9\n"},
        [],
    )
    dataset = build_dataset(config(tmp_path, "kinetics"), "val")
    part, cut, outside = (dataset[i] for i in range(3))
    assert stamps(part) == stamps(cut) == list(range(10, 20))
    assert torch.equal(part.positions, cut.positions)
    assert (outside.reason, outside.detail) == (
        "segment outside",
        "starts at 1.6 s, but the video ends at 1.600 s",
    )


def test_original_semantics_refuse_segments(tmp_path: Path) -> None:
    lay_out(tmp_path, {"val.csv": "path label start end\na.mp4 1 0 1\n"}, [])
    cfg = config(tmp_path, "kinetics")
    cfg.DATA.ORIGINAL_SEMANTICS = True
    with pytest.raises(ConfigError, match=r"ORIGINAL_SEMANTICS = True: .*set it to False"):
        build_dataset(cfg, "val")
