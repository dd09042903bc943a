"""Videos that are folders of numbered images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from slowfast.datasets.build import build_dataset
from slowfast.errors import AnnotationError, ConfigError, DecodeError
from slowfast.video.image_folder import ImageFolder
from tests.support.reading.data_sets import lay_out, reader_config, stamps_of
from tests.support.videos import stamp


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
    lay_out(tmp_path, {"val.csv": "video_a 1\n"})
    cfg = reader_config(tmp_path, "frames")
    with pytest.raises(AnnotationError, match=r"several image seq.* and .*DATA.IMAGE_TEMPLATE") as caught:
        build_dataset(cfg, "val")
    families = {re.sub(r"\d+", "", name) for name in names}
    assert all(min(n for n in names if re.sub(r"\d+", "", n) == f) in str(caught.value) for f in families)
    with pytest.raises(DecodeError, match="several image sequences"):
        ImageFolder(str(tmp_path / "video_a"), 25.0)
    cfg.DATA.IMAGE_TEMPLATE = "img_{:05d}.png"
    assert stamps_of(build_dataset(cfg, "val")[0]) == [1, 2, 3]


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
    lay_out(tmp_path, {"val.csv": "video_a 1\n"})
    assert stamps_of(build_dataset(reader_config(tmp_path, "frames"), "val")[0]) == [1, 2, 10]


def test_numbers_that_restart_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "video_a", "cam1_1.png", "cam1_2.png", "cam2_1.png", "cam2_2.png")
    lay_out(tmp_path, {"val.csv": "video_a 1\n"})
    cfg = reader_config(tmp_path, "frames")
    with caplog.at_level("WARNING", logger="slowfast"):
        build_dataset(cfg, "val")
    assert "4 images from cam1_1.png to cam2_2.png, but the numbers restart at cam2_1.png" in caplog.text
    caplog.clear()
    cfg.DATA.IMAGE_TEMPLATE = "cam2_{}.png"
    with caplog.at_level("WARNING", logger="slowfast"):
        assert stamps_of(build_dataset(cfg, "val")[0]) == [1, 2]
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
    lay_out(tmp_path, {"val.csv": "video_a 1\n"})
    cfg = reader_config(tmp_path, "frames")
    cfg.DATA.IMAGE_TEMPLATE = template
    assert stamps_of(build_dataset(cfg, "val")[0]) == numbers


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
    lay_out(tmp_path, {"val.csv": "video_a 1\n"})
    cfg = reader_config(tmp_path, "frames")
    cfg.DATA.IMAGE_TEMPLATE = template
    with pytest.raises(ConfigError, match=rf"DATA.IMAGE_TEMPLATE = .*{message}"):
        build_dataset(cfg, "val")


def test_a_folder_without_images_of_the_template_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "video_a", "frame_1.png")
    lay_out(tmp_path, {"val.csv": "video_a 1\n"})
    cfg = reader_config(tmp_path, "frames")
    cfg.DATA.IMAGE_TEMPLATE = "img_{:05d}.png"
    broken = build_dataset(cfg, "val")[0]
    assert broken.reason == "no frames"
    assert "img_{:05d}.png (DATA.IMAGE_TEMPLATE)" in broken.detail


def test_frames_are_images_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / "video_a").mkdir(exist_ok=True)
        Image.fromarray(stamp(number)).save(
            tmp_path / "video_a" / f"img_{number}.{'png' if number % 2 else 'jpg'}"
        )
        # macOS writes such a file beside each file on disks of other systems.
        (tmp_path / "video_a" / f"._img_{number}.jpg").write_bytes(b"\0\5\x16\7")
    lay_out(tmp_path, {"val.csv": "video_a 1\nmissing 0\nempty 0\n", "empty/readme.txt": "no image"})
    cfg = reader_config(tmp_path, "frames")
    cfg.DATA.IMAGE_FPS = 12.5
    dataset = build_dataset(cfg, "val", position_rate=25.0)
    clip = dataset[0]
    assert stamps_of(clip) == list(range(12))
    assert clip.positions.tolist() == list(range(0, 24, 2))
    assert [(dataset[i].reason, dataset[i].video_id) for i in (1, 2)] == [("missing", 1), ("no frames", 2)]


def test_a_video_with_a_damaged_image_is_broken(tmp_path: Path) -> None:
    lay_out(tmp_path, {"val.csv": "video_a 1\n", "video_a/1.jpg": "no picture"})
    broken = build_dataset(reader_config(tmp_path, "frames"), "val")[0]
    assert (broken.reason, "1.jpg" in broken.detail) == ("corrupt", True)
