"""Lists whose paths are wrong: the run ends before training, with the folder and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.config import get_default_config
from slowfast.datasets import build_dataset, construct_loader
from slowfast.errors import DataError
from tests.support.videos import write_video


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that starts in the folder of the test, with the given list."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "video 7", 8, container_format="mp4")

    def build(text: str, *changes: object):
        (tmp_path / "train.csv").write_text(text)
        cfg = get_default_config()
        keys = ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "MODEL.NUM_CLASSES", 2, "TRAIN.BATCH_SIZE", 2]
        cfg.merge_from_list([*keys, "DATA_LOADER.NUM_WORKERS", 0, *changes])
        return cfg

    return build


@pytest.mark.parametrize("prefix", ["", "videos", "/somewhere"])
@pytest.mark.parametrize(("count", "named"), [(3, "all 3 videos"), (150, "the first 100 of 150 videos")])
def test_a_list_without_existing_videos_ends_the_run(
    configure, tmp_path: Path, prefix: str, count: int, named: str
) -> None:
    cfg = configure("".join(f"v{i}.mp4 1\n" for i in range(count)), "DATA.PATH_PREFIX", prefix)
    with pytest.raises(DataError) as caught:
        construct_loader(cfg, "train")
    message = str(caught.value)
    assert message.startswith(f"{named} of the list are missing, such as '{Path(prefix) / 'v0.mp4'}'")
    assert f"relative paths start in {tmp_path / prefix} (DATA.PATH_PREFIX = {prefix!r})" in message
    assert "set DATA.PATH_PREFIX" in message


def test_one_existing_video_among_the_first_is_enough(configure) -> None:
    loader = construct_loader(configure("a.mp4 1\nvideo 7 1\nb.mp4 0\n"), "train")
    assert len(loader.dataset) == 3


def test_a_column_of_frame_counts_is_recognised(configure) -> None:
    with pytest.raises(
        DataError, match=r"'video 7' exists: add a first line .*'path total_frames label'.* commas"
    ):
        construct_loader(configure("video 7 8 1\nvideo 7 8 0\n"), "train")
    construct_loader(configure("path total_frames label\nvideo 7 8 1\nvideo 7 8 0\n"), "train")


def test_a_missing_video_names_the_folder_of_relative_paths(configure, tmp_path: Path) -> None:
    dataset = build_dataset(configure("video 7 1\nfolder/a.mp4 0\n"), "train")
    dataset._substitute = False
    broken = dataset[1]
    assert broken.reason == "missing"
    assert f"relative paths start in {tmp_path} (DATA.PATH_PREFIX = '')" in broken.detail


def test_a_folder_in_a_list_of_files_names_the_data_set_that_reads_it(configure, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    dataset = build_dataset(configure("images 1\nvideo 7 0\n"), "train")
    dataset._substitute = False
    broken = dataset[0]
    assert broken.reason == "not a file"
    assert broken.detail == "a folder; TRAIN.DATASET frames and TEST.DATASET frames read folders of images"
