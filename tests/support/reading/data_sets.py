"""Data sets of the readers: their files and videos of a few frames each, and what is read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.datasets.clip import BrokenVideo, Clip
from slowfast.datasets.readers import READERS, AnnotationSource
from tests.support.configs import make_config
from tests.support.videos import read_stamps, write_video

SPLITS = ("train", "val", "test")


def lay_out(folder: Path, texts: Mapping[str, str], videos: Sequence[str] = ()) -> Path:
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


def read_class_names(name: str, folder: Path, split: str = "train", num_classes: int = 2) -> tuple[str, ...]:
    return READERS[name](AnnotationSource(str(folder), split, num_classes)).class_names


def reader_config(folder: Path, dataset: str) -> CfgNode:
    """Returns a configuration for full videos of ``dataset`` below ``folder``."""
    values = {
        "TRAIN.DATASET": dataset, "DATA.PATH_TO_DATA_DIR": str(folder), "DATA.PATH_PREFIX": str(folder),
        "MODEL.NUM_CLASSES": 2, "DATA.NUM_FRAMES": 4, "DATA.SAMPLING_RATE": 1, "DATA.TARGET_FPS": 25,
        "DATA.TRAIN_JITTER_SCALES": [64, 64], "DATA.TEST_CROP_SIZE": 64, "TRAIN.EVAL_FULL_VIDEO": True,
    }  # fmt: skip
    return make_config(values, checked=False)


def stamps_of(clip: Clip | BrokenVideo) -> list[int]:
    """Returns the stamps of a clip's frames."""
    assert isinstance(clip, Clip)
    return read_stamps(clip.frames.permute(1, 2, 3, 0).numpy())
