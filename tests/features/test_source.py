"""A changed video or folder of images is told from the one that was recorded, and from a copy of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast.features.source import describe_source, find_change, is_same_source
from slowfast.video.archive.member import TarMember


def make_folder(path: Path, images: int = 3, size: int = 10) -> Path:
    path.mkdir()
    for number in range(images):
        (path / f"img_{number}.jpg").write_bytes(bytes(size + number))
    return path


def add_image(folder: Path) -> None:
    (folder / "img_9.jpg").write_bytes(b"x")


def remove_image(folder: Path) -> None:
    (folder / "img_2.jpg").unlink()


def overwrite_in_place(folder: Path) -> None:
    for image in folder.iterdir():
        image.write_bytes(bytes(99))


def exchange_names(folder: Path) -> None:
    (folder / "img_2.jpg").rename(folder / "img_02.jpg")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add_image, "it has 4 images, and had 3"),
        (remove_image, "it has 2 images, and had 3"),
        (overwrite_in_place, "it has 99 bytes in its first image, and had 10"),
        (exchange_names, "its images have other names"),
    ],
)
def test_a_changed_folder_of_images_is_another_source(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = make_folder(tmp_path / "video")
    recorded = describe_source(folder)
    change(folder)
    assert describe_source(folder) != recorded
    assert find_change(folder, recorded).startswith(said)


def test_a_reader_looks_at_one_image_of_a_folder(tmp_path: Path) -> None:
    """On a network disk each file that is looked at is a request; the extraction looks at all of them."""
    folder = make_folder(tmp_path / "video")
    recorded = describe_source(folder)
    (folder / "img_1.jpg").write_bytes(bytes(99))
    assert find_change(folder, recorded) == ""
    assert describe_source(folder) != recorded


def test_images_overwritten_by_others_of_one_size_are_extracted_again(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "video")
    recorded = describe_source(folder)
    os.utime(folder / "img_1.jpg", ns=(0, recorded["mtime_ns"] + 1))
    assert describe_source(folder) != recorded
    assert find_change(folder, recorded) == "", "it may be a copy"


def test_other_files_of_a_folder_do_not_matter(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "video")
    recorded = describe_source(folder)
    for name in ("notes.txt", ".img_3.jpg"):
        (folder / name).write_text("x")
    (folder / "img_4.jpg").symlink_to(tmp_path / "gone")
    assert describe_source(folder) == recorded


def test_copies_on_another_disk_are_read(tmp_path: Path) -> None:
    folder, video = make_folder(tmp_path / "video"), tmp_path / "a.mp4"
    video.write_bytes(b"frames")
    for path in (folder, video):
        recorded = describe_source(path)
        copy = tmp_path / "disk" / path.name
        copy.parent.mkdir(exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy)
        for file in [copy, *(copy.iterdir() if copy.is_dir() else ())]:
            os.utime(file, (1, 1))
        assert find_change(copy, recorded) == ""
        assert describe_source(copy) != recorded


def test_a_video_that_is_not_there_has_not_changed(tmp_path: Path) -> None:
    """Features are read on machines without the videos."""
    assert find_change(tmp_path / "gone.mp4", {"name": "gone.mp4", "bytes": 3, "mtime_ns": 0}) == ""


def test_records_of_another_form_are_not_compared(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "video")
    for nothing in (None, {}, [], "text"):
        assert find_change(folder, nothing) == ""


@pytest.mark.parametrize("size", [100, 4096, 20_000])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_other_content_of_the_same_size_is_a_change(tmp_path: Path, size: int, place: float) -> None:
    """Its time is another one; so is that of a copy."""
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(size))
    recorded = describe_source(path)
    content = bytearray(size)
    content[round(place * (size - 1))] = 1
    path.write_bytes(content)
    os.utime(path, (1, 1))
    assert find_change(path, recorded) == "it has other content, and had as many bytes"
    assert find_change(path, {key: value for key, value in recorded.items() if key != "sample"}) == ""
    path.write_bytes(bytes(size))
    os.utime(path, (1, 1))
    assert find_change(path, recorded) == ""
    assert not is_same_source(path, recorded), "an extraction compares the times, too"


@given(before=st.integers(0, 50), after=st.integers(0, 50))
def test_a_file_has_changed_where_its_size_has(
    tmp_path_factory: pytest.TempPathFactory, before: int, after: int
) -> None:
    path = tmp_path_factory.mktemp("source") / "a.mp4"
    path.write_bytes(bytes(before))
    recorded = describe_source(path)
    path.write_bytes(bytes(after))
    expected = f"it has {after} bytes, and had {before}" if before != after else ""
    assert find_change(path, recorded) == expected


def test_a_file_and_its_copies_in_archives_are_one_source(tmp_path: Path) -> None:
    """An extraction from shards would encode all videos again, whose features are there already."""
    video, archives = tmp_path / "a.mp4", [tmp_path / "1.tar", tmp_path / "2.tar"]
    video.write_bytes(bytes(range(200)))
    for place, archive in enumerate(archives):
        archive.write_bytes(bytes(512 * place) + video.read_bytes())
        os.utime(archive, (place, place))
    members = [TarMember.at(str(a), f"{i}.mp4", 512 * i, 200, "a.mp4") for i, a in enumerate(archives)]
    recorded = [describe_source(source) for source in (video, *members)]
    assert all(is_same_source(source, record) for source in (video, *members) for record in recorded)
    archives[1].write_bytes(bytes(512) + video.read_bytes()[::-1])
    assert [is_same_source(members[1], record) for record in recorded] == [False] * 3


def test_a_member_of_an_archive_is_compared_with_the_file_it_was_made_of(tmp_path: Path) -> None:
    video, archive = tmp_path / "a.mp4", tmp_path / "shard.tar"
    video.write_bytes(bytes(7))
    archive.write_bytes(bytes(2048))
    recorded = describe_source(video)
    for size, change in ((7, ""), (8, "it has 8 bytes, and had 7")):
        member = TarMember.at(str(archive), "0.mp4", 512, size, "a.mp4")
        assert find_change(member, recorded) == change
