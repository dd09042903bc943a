"""Augmentation changes all frames of a clip alike, by the seed, the epoch and the sample's index alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Clip
from slowfast.datasets.loading.loader import build_loader
from slowfast.datasets.loading.samplers import SampleRef
from slowfast.datasets.views.augment import Augmentation, jitter_color
from slowfast.datasets.views.spatial import random_resized_crop
from tests.support.configs import make_config
from tests.support.videos import write_csv, write_video

RAND_AUGMENT = "rand-m9-mstd0.5-inc1"


@pytest.fixture
def still() -> np.ndarray:
    """A still clip (5, 48, 64, 3) of smooth colours."""
    rows, columns = np.mgrid[0:48, 0:64]
    image = np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=-1).astype(np.uint8)
    return np.repeat(image[None], 5, axis=0)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(auto_augment=RAND_AUGMENT),
        Augmentation(auto_augment="rand-m5-n4", interpolation="random"),
        Augmentation(color_jitter=0.4),
        *(
            Augmentation(erase_prob=1.0, erase_mode=mode, erase_count=3)
            for mode in ("pixel", "rand", "const")
        ),
    ],
    ids=lambda augmentation: repr(augmentation)[13:60],
)
def test_frames_are_changed_alike_and_by_the_generator_alone(
    still: np.ndarray, augmentation: Augmentation
) -> None:
    before = still.copy()
    first = [augmentation(still, np.random.default_rng(seed)) for seed in range(12)]
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    again = [augmentation(still, np.random.default_rng(seed)) for seed in range(12)]
    for clip, same in zip(first, again, strict=True):
        assert clip.dtype == np.uint8
        assert clip.shape == still.shape
        assert np.array_equal(clip, same)
        assert (clip == clip[:1]).all()  # still stands still
    assert any(not np.array_equal(clip, still) for clip in first)
    assert len({clip.tobytes() for clip in first}) > 3
    assert np.array_equal(still, before)  # what came in is left alone


@pytest.mark.parametrize("policy", ["rand-m10-inc1", "rand-m0", "rand-m30-mmax30-inc1"])
def test_operations_of_any_strength_are_applied(still: np.ndarray, policy: str) -> None:
    """Noise of rand-m9-mstd0.5-inc1 reaches 10 in one of 40 clips; posterising then keeps no bit."""
    clips = [Augmentation(auto_augment=policy)(still, np.random.default_rng(seed)) for seed in range(50)]
    assert any(not clip.any() for clip in clips)


def test_the_global_generators_of_python_and_numpy_keep_their_states(still: np.ndarray) -> None:
    def draw(augmentation: Augmentation | None) -> tuple[float, float]:
        random.seed(1)
        np.random.seed(1)
        if augmentation is not None:
            augmentation(still, np.random.default_rng(0))
        return random.random(), float(np.random.rand())

    assert draw(Augmentation(auto_augment=RAND_AUGMENT, erase_prob=1.0)) == draw(None)


def test_the_defaults_change_nothing(still: np.ndarray) -> None:
    assert Augmentation()(still, np.random.default_rng(0)) is still


@pytest.mark.parametrize(("mode", "colors"), [("const", 1), ("rand", 1), ("pixel", None)])
def test_erasing_fills_a_region_of_the_published_size(mode: str, colors: int | None) -> None:
    black = np.zeros((2, 64, 64, 3), np.uint8)
    augmentation = Augmentation(erase_prob=1.0, erase_mode=mode)
    fractions = []
    for seed in range(100):
        erased = augmentation(black, np.random.default_rng(seed))
        part = erased[0][erased[0].any(axis=-1)]
        fractions.append(len(part) / 64**2)
        if colors:
            assert len(np.unique(part, axis=0)) <= colors
        if mode == "const":
            assert (part == round(0.45 * 255)).all()
    assert min(fractions) > 0.01
    assert 0.25 < max(fractions) < 0.36


def test_erased_regions_have_the_published_aspect_and_reach_all_edges() -> None:
    black = np.zeros((1, 40, 60, 3), np.uint8)
    augmentation = Augmentation(erase_prob=1.0, erase_mode="const")
    aspects, first, last = [], [], []
    for seed in range(400):
        places = np.argwhere(augmentation(black, np.random.default_rng(seed))[0, :, :, 0])
        first.append(places.min(axis=0))
        last.append(places.max(axis=0))
        height, width = last[-1] - first[-1] + 1
        aspects.append(height / width)
    assert 0.27 < min(aspects) < 0.36
    assert 2.8 < max(aspects) < 3.7
    assert (np.min(first, axis=0) == 0).all()
    assert np.max(last, axis=0).tolist() == [39, 59]


def test_constant_fillings_are_the_mean_colour() -> None:
    """In erased regions, and beyond the edges of an image that RandAugment shifts."""
    mean, expected = (0.2, 0.5, 0.98), [51, 128, 250]
    black = np.zeros((1, 40, 40, 3), np.uint8)
    erasing = Augmentation(erase_prob=1.0, erase_mode="const", mean=mean)
    erased = erasing(black, np.random.default_rng(0))
    assert np.unique(erased[erased.any(axis=-1)], axis=0).tolist() == [expected]
    shifting = Augmentation(auto_augment="rand-m9-n4", mean=mean)
    shifted = [shifting(black, np.random.default_rng(seed)) for seed in range(20)]
    assert any((clip == expected).all(axis=-1).any() for clip in shifted)


def test_jitter_is_within_its_strength() -> None:
    grey = np.full((1, 8, 8, 3), 100, np.uint8)
    values = [jitter_color(grey, 0.4, np.random.default_rng(seed))[0, 0, 0, 0] for seed in range(200)]
    assert 59 <= min(values) < 65
    assert 135 < max(values) <= 140


# ------------------------------------------------------------------------------------ random resized crop


def test_a_resized_crop_has_the_requested_area_and_aspect() -> None:
    height, width, size = 240, 320, 112
    areas, aspects = [], []
    for seed in range(300):
        place = random_resized_crop((0.2, 0.6), (0.5, 2.0), size, np.random.default_rng(seed))(height, width)
        part_height, part_width = size * height / place.height, size * width / place.width
        areas.append(part_height * part_width / (height * width))
        aspects.append(part_width / part_height)
        assert 0 <= place.top <= place.height - size
        assert 0 <= place.left <= place.width - size
    assert 0.19 < min(areas) < 0.25
    assert 0.55 < max(areas) < 0.62
    assert 0.48 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.1


def test_resized_crops_reach_both_edges_and_flip_half_of_the_time() -> None:
    places = [
        random_resized_crop((0.8, 0.9), (0.95, 1.05), 10, np.random.default_rng(seed))(20, 20)
        for seed in range(200)
    ]
    assert {place.height - place.top for place in places if place.height == 11} == {10, 11}
    assert {place.width - place.left for place in places if place.width == 11} == {10, 11}
    assert 70 < sum(place.flip for place in places) < 130


def test_a_resized_crop_is_the_centre_where_no_region_fits() -> None:
    place = random_resized_crop((1.0, 1.0), (1.0, 1.0), 50, np.random.default_rng(0), flip=False)(100, 400)
    assert (place.height, place.width, place.top, place.left) == (50, 200, 0, 75)


# -------------------------------------------------------------------------------- from the config to clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("augment")
    videos = [(write_video(path / f"{i}.mp4", 20, size=(72, 96)), i % 2) for i in range(8)]
    write_csv(path / "train.csv", videos)
    write_csv(path / "val.csv", videos)
    return path


def config(folder: Path, **changes: Any) -> CfgNode:
    values = {
        "DATA.PATH_TO_DATA_DIR": str(folder),
        "MODEL.NUM_CLASSES": 2,
        "DATA.NUM_FRAMES": 4,
        "DATA.SAMPLING_RATE": 2,
        "DATA.TRAIN_JITTER_SCALES": [64, 72],
        "DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.3, 1.0],
        "DATA.TRAIN_CROP_SIZE": 48,
        "DATA.TEST_CROP_SIZE": 48,
        "DATA_LOADER.NUM_WORKERS": 0,
        "AUG.ENABLE": True,
        "AUG.RE_PROB": 0.5,
    }
    return make_config(values | changes, checked=False)


def clips_of(
    cfg: Any, *, epoch: int, world_size: int, steps: int = 2, first: int = 0
) -> dict[int, list[Clip]]:
    """Returns the clips of an epoch by video, over all processes of a run."""
    dataset = build_dataset(cfg, "train")
    found: dict[int, list[Clip]] = {}
    for rank in range(world_size):
        loader = build_loader(
            cfg, dataset, "train", batch_size=4 // world_size, rank=rank, world_size=world_size
        )
        loader.batch_sampler.set_position(epoch, first)
        for batch in loader:
            for i, video in enumerate(batch.video_id.tolist()):
                found.setdefault(video, []).append(batch.frames[i])
    return found


def test_the_same_sample_of_the_same_epoch_is_the_same_clip_everywhere(folder: Path) -> None:
    alone = clips_of(config(folder), epoch=1, world_size=1)
    assert sorted(alone) == list(range(8))
    others = {
        "two processes": clips_of(config(folder), epoch=1, world_size=2),
        "workers": clips_of(config(folder, **{"DATA_LOADER.NUM_WORKERS": 2}), epoch=1, world_size=1),
        "resumed": clips_of(config(folder), epoch=1, world_size=1, first=1),
    }
    assert len(others["resumed"]) == 4
    for name, found in others.items():
        for video, (clip,) in found.items():
            assert torch.equal(clip, alone[video][0]), (name, video)
    next_epoch = clips_of(config(folder), epoch=2, world_size=1)
    assert not any(torch.equal(alone[video][0], next_epoch[video][0]) for video in range(8))


def test_repeated_augmentation_gives_several_clips_of_each_video(folder: Path) -> None:
    cfg = config(folder, **{"AUG.NUM_SAMPLE": 3})
    found = clips_of(cfg, epoch=1, world_size=1)
    assert all(len(clips) == 3 for clips in found.values())
    assert all(not torch.equal(a, b) for a, b, _ in found.values())
    over_two = clips_of(cfg, epoch=1, world_size=2)
    assert all(
        torch.equal(a, b) for video in found for a, b in zip(found[video], over_two[video], strict=True)
    )
    dataset = build_dataset(cfg, "train")
    batch = next(iter(build_loader(cfg, dataset, "train", batch_size=4)))
    assert (batch.video_id[0::2] != batch.video_id[1::2]).all()  # what mixup mixes is not one video


def test_augmentation_is_off_by_default_and_in_evaluation(folder: Path) -> None:
    off = config(folder, **{"AUG.ENABLE": False})
    assert build_dataset(off, "train").reader.augment is None
    assert build_dataset(config(folder), "val").reader.augment is None
    plain, changed = build_dataset(off, "train"), build_dataset(config(folder), "train")
    assert not all(
        torch.equal(plain[SampleRef(0, i)].frames, changed[SampleRef(0, i)].frames) for i in range(8)
    )
