"""A run is resumed with its training videos in another folder; a really different list stays refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.checkpoint.state import fingerprint
from slowfast.checkpoint.storage import read_checkpoint
from slowfast.config import get_default_config
from slowfast.datasets.annotations import PathTable
from slowfast.datasets.build import build_dataset
from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from tests.support.run_results import assert_same_end
from tests.support.tiny import tiny_config

OPTIONS = ("TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 1)
LAST = "checkpoint_epoch_00001.pyth"


def relative_hash(*paths: str, prefix: str = "") -> bytes:
    return PathTable.from_strings(paths, prefix).relative_hash()


@pytest.mark.parametrize(
    "paths",
    [
        ("c0/a.mp4", "c1/b.mp4"),
        ("v/c0/a.mp4", "v/c1/b.mp4"),
        ("./v/c0/a.mp4", "./v/c1/b.mp4"),
        ("/data/v/c0/a.mp4", "/data/v/c1/b.mp4"),
        ("../v/c0/a.mp4", "../v/c1/b.mp4"),
    ],
)
def test_paths_in_another_folder_have_the_same_hash(paths: tuple[str, ...]) -> None:
    assert relative_hash(*paths) == relative_hash("c0/a.mp4", "c1/b.mp4")
    assert relative_hash(*paths, prefix="/somewhere/else") == relative_hash("c0/a.mp4", "c1/b.mp4")


@pytest.mark.parametrize(
    "paths",
    [
        ("c1/b.mp4", "c0/a.mp4"),
        ("c0/a.mp4",),
        ("c0/a.mp4", "c1/b.mp4", "c1/b.mp4"),
        ("c0/a.mp4", "c0/b.mp4"),
        ("c0/a.mp4", "c1/B.mp4"),
        ("c0/a.mp4", "c1/.b.mp4"),
        ("c0/a.mp", "4c1/b.mp4"),
        ("a.mp4", "c1/b.mp4"),
    ],
)
def test_other_relative_paths_have_another_hash(paths: tuple[str, ...]) -> None:
    assert relative_hash(*paths) != relative_hash("c0/a.mp4", "c1/b.mp4")


def test_the_hash_of_many_paths_is_that_of_their_relative_paths() -> None:
    """More paths than are hashed at a time; the last of them decides about the common folder."""
    names = [f"v{number:06d}.mp4" for number in range(70_000)]
    moved = [f"/data/train/{name}" for name in names]
    assert relative_hash(*moved) == relative_hash(*names)
    assert relative_hash(*moved[:-1], "/data/val/x.mp4") != relative_hash(*names[:-1], "x.mp4")
    assert relative_hash(*moved[:-1], "/data/val/x.mp4") == relative_hash(
        *(f"train/{name}" for name in names[:-1]), "val/x.mp4"
    )


# --------------------------------------------------------------------------------- trees of data sets


def video_folder(root: Path, videos: Path) -> tuple[Any, ...]:
    for split, count in (("train", 26), ("val", 7)):
        for number in range(count):
            target = root / split / f"class{number % 3}" / f"{number:02d}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(videos / f"{split}_{number}.mp4", target)
    return ("TRAIN.DATASET", "videofolder", "DATA.PATH_TO_DATA_DIR", str(root))


def image_folders(root: Path, videos: Path) -> tuple[Any, ...]:
    from PIL import Image

    for split in ("train", "val"):
        for number in range(6):
            target = root / split / str(number)
            target.mkdir(parents=True)
            for frame in range(4):
                Image.new("RGB", (40, 32), (40 * number, 0, 0)).save(target / f"{frame:03d}.png")
        lines = "".join(f"{split}/{number} {number % 3}\n" for number in range(6))
        (root / f"{split}.csv").write_text(lines)
    return ("TRAIN.DATASET", "frames", "DATA.PATH_TO_DATA_DIR", str(root), "DATA.PATH_PREFIX", str(root))


def ucf101(root: Path, videos: Path) -> tuple[Any, ...]:
    (root / "ucfTrainTestlist").mkdir(parents=True)
    lists = root / "ucfTrainTestlist"
    (lists / "classInd.txt").write_text("1 A\n2 B\n3 C\n")
    for split, kind in (("train", "train"), ("val", "test")):
        lines = []
        for number in range(6):
            name = "ABC"[number % 3]
            target = root / "UCF-101" / name / f"v_{name}_{split}_{number}.avi"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(videos / f"{split}_{number}.mp4", target)
            lines.append(f"{name}/{target.name} {number % 3 + 1}\n")
        (lists / f"{kind}list01.txt").write_text("".join(lines))
    return ("TRAIN.DATASET", "ucf101", "DATA.PATH_TO_DATA_DIR", str(root))


Tree = Callable[[Path, Path], tuple[Any, ...]]


@pytest.mark.parametrize("make", [video_folder, image_folders, ucf101])
def test_a_run_is_resumed_when_its_tree_has_moved(make: Tree, colour_videos: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "data", tmp_path / "new"
    before = make(old, colour_videos)
    assert run(tiny_config(old, tmp_path / "one", *OPTIONS, *before)) == 0
    assert run(tiny_config(old, tmp_path / "two", *OPTIONS, *before, "TRAIN.MAX_STEPS", 1)) == 0
    shutil.move(old, new)
    after = [str(new) if value == str(old) else value for value in before]
    assert run(tiny_config(new, tmp_path / "two", *OPTIONS, *after)) == 0
    assert_same_end(tmp_path / "one", tmp_path / "two", LAST)


# ------------------------------------------------------------------------------------ lists of videos


def write_lists(folder: Path, videos: Path, line: str) -> Path:
    """Writes the lists, with ``line`` for each video: ``{name}`` is its file, ``{label}`` its class."""
    folder.mkdir()
    for split, count in (("train", 26), ("val", 7)):
        names = [(f"{split}_{number}.mp4", number % 3) for number in range(count)]
        text = "".join(line.format(name=name, label=label, videos=videos) + "\n" for name, label in names)
        (folder / f"{split}.csv").write_text(text)
    return folder


@pytest.fixture(scope="module")
def ended(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run without interruption."""
    output = tmp_path_factory.mktemp("ended")
    assert run(tiny_config(colour_videos, output, *OPTIONS)) == 0
    return output


@pytest.mark.parametrize("change", ["another prefix", "a symlink", "a dot", "full paths"])
def test_a_run_is_resumed_when_its_list_names_another_folder(
    change: str, ended: Path, colour_videos: Path, tmp_path: Path
) -> None:
    lists = write_lists(tmp_path / "lists", colour_videos, "{name} {label}")
    prefix = ("DATA.PATH_PREFIX", str(colour_videos))
    assert run(tiny_config(lists, tmp_path / "out", *OPTIONS, *prefix, "TRAIN.MAX_STEPS", 2)) == 0
    if change == "another prefix":
        shutil.copytree(colour_videos, tmp_path / "copy")
        prefix = ("DATA.PATH_PREFIX", str(tmp_path / "copy"))
    elif change == "a symlink":
        (tmp_path / "link").symlink_to(colour_videos)
        prefix = ("DATA.PATH_PREFIX", str(tmp_path / "link"))
    elif change == "a dot":
        lists = write_lists(tmp_path / "other_lists", colour_videos, "./{name} {label}")
    else:
        lists = write_lists(tmp_path / "other_lists", colour_videos, "{videos}/{name} {label}")
        prefix = ()
    assert run(tiny_config(lists, tmp_path / "out", *OPTIONS, *prefix)) == 0
    assert_same_end(ended, tmp_path / "out", LAST)


def test_a_moved_list_with_another_label_or_video_is_refused(colour_videos: Path, tmp_path: Path) -> None:
    assert run(tiny_config(colour_videos, tmp_path / "out", *OPTIONS, "TRAIN.MAX_STEPS", 2)) == 0
    lists = write_lists(tmp_path / "lists", colour_videos, "{name} {label}")
    lines = (lists / "train.csv").read_text().splitlines()
    prefix = ("DATA.PATH_PREFIX", str(colour_videos))
    for changed in (lines[1:], ["train_0.mp4 1", *lines[1:]], ["val_0.mp4 0", *lines[1:]]):
        (lists / "train.csv").write_text("\n".join(changed) + "\n")
        with pytest.raises(CheckpointError, match=r"another list of training videos \(relative paths or"):
            run(tiny_config(lists, tmp_path / "out", *OPTIONS, *prefix))


def test_a_checkpoint_with_the_hash_of_version_0_1_0_is_resumed(
    ended: Path, colour_videos: Path, tmp_path: Path
) -> None:
    """That version hashed full paths; the next checkpoint of the run has a hash of relative paths."""
    assert run(tiny_config(colour_videos, tmp_path, *OPTIONS, "TRAIN.MAX_STEPS", 2)) == 0
    path = tmp_path / "checkpoints" / "checkpoint_epoch_00000_step_000002.pyth"
    paths = [str(colour_videos / f"train_{number}.mp4") for number in range(26)]
    lengths = np.array([len(path) for path in paths], np.int32).tobytes()
    rows = hashlib.sha256(b"\0" + lengths + "".join(paths).encode()).digest()
    labels = np.array([number % 3 for number in range(26)], np.int32)
    content = read_checkpoint(path)
    content["data_fingerprint"] = hashlib.sha256(labels.tobytes() + rows).hexdigest()
    torch.save(content, path)
    assert run(tiny_config(colour_videos, tmp_path, *OPTIONS)) == 0
    assert_same_end(ended, tmp_path, LAST)
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR, cfg.MODEL.NUM_CLASSES = str(colour_videos), 3
    saved = read_checkpoint(tmp_path / "checkpoints" / LAST)["data_fingerprint"]
    assert saved == fingerprint(build_dataset(cfg, "train"))


def test_a_moved_feature_cache_and_a_moved_module_do_not_make_another_run() -> None:
    from slowfast.checkpoint.resume import RunIdentity, check_resumable
    from slowfast.checkpoint.state import TrainingProgress, TrainingState

    def check(before: str, after: str) -> TrainingProgress:
        state = TrainingState(TrainingProgress(1, 2), {}, {}, {}, before, 0, 4, "")
        return check_resumable(state, RunIdentity(after, 0, 4, "x"), source=Path("c.pyth"), forced=False)

    before = "{DATA: {FEATURES: old/cache}, IMPORTS: [old/models.py]}"
    assert check(before, "{DATA: {FEATURES: cache}, IMPORTS: [models.py]}") == TrainingProgress(1, 2)
    with pytest.raises(CheckpointError, match=r"cannot be resumed with DATA.FEATURES: 'old/cache' → ''"):
        check(before, "{DATA: {FEATURES: ''}}")
