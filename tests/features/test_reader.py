"""Feature files of other programs, in the layouts of public data sets, are read like videos."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import BrokenVideo
from slowfast.datasets.loading.loader import build_loader, collate
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.errors import ConfigError, DataError, DecodeError
from slowfast.features import file_reader
from slowfast.features.batch import FeatureBatch, FeatureClip
from slowfast.features.cache import FeatureNames
from slowfast.features.file_reader import FeatureFileReader
from tests.support.configs import make_config

WIDTH = 6
FRAMES_LAST = ("DATA.FEATURES_LAYOUT", "frames_last", "DATA.FEATURES_FPS", 15.0)


def rows(count: int) -> np.ndarray:
    """Returns (count, WIDTH) float32; the first value of each row is its index."""
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], WIDTH, axis=1) + np.arange(WIDTH) / 10


def config(data: Path, *changes: Any) -> CfgNode:
    """A configuration of clips of four rows, one second apart, and of full videos at one row per second."""
    values = {
        "DATA.PATH_TO_DATA_DIR": str(data), "DATA.PATH_PREFIX": str(data / "features"),
        "TRAIN.DATASET": "features", "TEST.DATASET": "features", "MODEL.NUM_CLASSES": 10,
        "MODEL.MODEL_NAME": "any",
        "DATA.NUM_FRAMES": 4, "DATA.SAMPLING_RATE": 1, "DATA.TARGET_FPS": 1, "DATA.TEST_CROP_SIZE": 224,
        "TRAIN.EVAL_FULL_VIDEO": True, "TEST.NUM_ENSEMBLE_VIEWS": 1, "TEST.NUM_SPATIAL_CROPS": 1,
        "DATA_LOADER.NUM_WORKERS": 0, "TEST.BATCH_SIZE": 2,
    }  # fmt: skip
    return make_config(values, *changes)


def write_lists(data: Path, lines: list[str]) -> None:
    for split in ("train", "val", "test"):
        (data / f"{split}.csv").write_text("".join(f"{line}\n" for line in lines))


def numbers(clip: Any) -> list[int]:
    return clip.features[:, 0].round().int().tolist()


def read_broken(cfg: CfgNode, index: int) -> BrokenVideo:
    """Returns a video of the test split, which must be broken."""
    item = build_dataset(cfg, "test")[index]
    assert isinstance(item, BrokenVideo)
    return item


@pytest.fixture
def breakfast(tmp_path: Path) -> Path:
    """The layout of the Breakfast features: (width, frames), 15 rows per second, lists without suffixes."""
    (tmp_path / "features").mkdir()
    for name, count in (("P03_cam01_P03_cereals", 60), ("P03_cam01_P03_coffee", 45)):
        np.save(tmp_path / "features" / f"{name}.npy", rows(count).T)
    write_lists(tmp_path, ["P03_cam01_P03_cereals 0", "P03_cam01_P03_coffee 1"])
    return tmp_path


@pytest.fixture
def thumos(tmp_path: Path) -> Path:
    """The layout of I3D features of THUMOS14: 7.5 rows per second, actions by start and end."""
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features/video_validation_0000051.npy", rows(75))
    segments = ["video_validation_0000051.npy 7 0.8 4", "video_validation_0000051.npy 3 6 99"]
    write_lists(tmp_path, ["path label start end", *segments])
    return tmp_path


@pytest.fixture
def coin(tmp_path: Path) -> Path:
    """The layout of features of COIN and LVU with times, the centres of the rows: .npz and .times.npy."""
    (tmp_path / "features").mkdir()
    times = np.arange(8) * 2.0 + 1.0
    np.savez(tmp_path / "features/0-b3K.npz", features=rows(8), times=times)
    np.save(tmp_path / "features/1-xyz.npy", rows(8).astype(np.float16))
    np.save(tmp_path / "features/1-xyz.times.npy", times)
    write_lists(tmp_path, ["0-b3K 1", "1-xyz 2"])
    return tmp_path


def test_frames_last_at_a_given_rate(breakfast: Path) -> None:
    cfg = config(breakfast, *FRAMES_LAST)
    dataset = build_dataset(cfg, "test", feature_shape=(WIDTH,))
    clip = dataset[0]
    assert isinstance(clip, FeatureClip)
    assert numbers(clip) == [0, 15, 30, 45], "one row per second"
    assert clip.positions.tolist() == [0, 15, 30, 45]
    torch.testing.assert_close(clip.features, torch.from_numpy(rows(60)[::15]))


def test_segments_of_files_are_read_as_videos(thumos: Path) -> None:
    cfg = config(thumos, "DATA.FEATURES_FPS", 7.5)
    first, second = build_dataset(cfg, "test")[0], build_dataset(cfg, "test")[1]
    assert numbers(first) == [6, 13, 21, 28], "from the row displayed at 0.8 s, one row per second"
    assert first.positions.tolist() == [0, 7, 15, 22], "as if the segment were a video"
    assert first.label == 7
    assert numbers(second)[0] == 45


def test_times_in_the_files_are_used(coin: Path) -> None:
    cfg = config(coin)
    for index in (0, 1):
        clip = build_dataset(cfg, "test", position_rate=2.0)[index]
        assert numbers(clip) == list(range(8)), "rows are two seconds apart"
        assert clip.positions.tolist() == [0, 4, 8, 12, 16, 20, 24, 28]


def test_training_clips_are_drawn_at_random(coin: Path) -> None:
    cfg = config(coin, "DATA.TARGET_FPS", 2, "DATA.SAMPLING_RATE", 4)
    dataset = build_dataset(cfg, "train", feature_shape=(WIDTH,))
    drawn = {tuple(numbers(dataset[(epoch, 0)])) for epoch in range(30)}
    assert len(drawn) > 1
    assert all(len(clip) == 4 and np.ptp(clip) == 3 for clip in drawn)


def test_batches_are_padded_and_masked(breakfast: Path) -> None:
    cfg = config(breakfast, *FRAMES_LAST)
    batch = next(iter(build_loader(cfg, build_dataset(cfg, "test"), "test", batch_size=2)))
    assert isinstance(batch, FeatureBatch)
    assert batch.features.shape == (2, 4, WIDTH)
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert batch.features[1, 3].abs().sum() == 0
    assert batch.label.tolist() == [0, 1]


def test_features_shuffled_in_time_keep_their_positions(coin: Path) -> None:
    plain = build_dataset(config(coin), "test")[0]
    shuffled = build_dataset(config(coin, "TEST.SHUFFLE_FRAMES", True), "test")[0]
    assert torch.equal(plain.positions, shuffled.positions)
    assert numbers(plain) != numbers(shuffled)
    assert numbers(plain) == sorted(numbers(shuffled))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("DATA.FEATURES_LAYOUT", "frames_last"), "set DATA.FEATURES_FPS"),
        (("DATA.FEATURES_FPS", 15.0), "set DATA.FEATURES_LAYOUT frames_last"),
        ((*FRAMES_LAST, "DATA.PATH_PREFIX", "/gone"), "PREFIX"),
    ],
)
def test_messages_name_the_key_to_set(breakfast: Path, changes: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_dataset(config(breakfast, *changes), "test", feature_shape=(WIDTH,))


def test_features_of_another_width_than_the_model_s_are_refused(breakfast: Path) -> None:
    cfg = config(breakfast, *FRAMES_LAST)
    with pytest.raises(DataError, match="rows of width 6, and the model takes 8; build the model"):
        build_dataset(cfg, "test", feature_shape=(8,))


def test_several_crops_are_refused(coin: Path) -> None:
    with pytest.raises(ConfigError, match="NUM_SPATIAL_CROPS"):
        build_dataset(config(coin, "TEST.NUM_SPATIAL_CROPS", 3), "test")


@pytest.mark.parametrize(
    ("arrays", "detail"),
    [
        ({"features": rows(8), "times": np.arange(7)}, "8 rows need as many ascending seconds"),
        ({"features": rows(8), "times": np.zeros(8)}, "ascending"),
        ({"features": rows(8), "times": np.arange(8) - 2}, "the first of its times is -2 s; must be 0 or"),
        ({"features": rows(8), "times": np.array([*"abcdefgh"])}, "times hold <U1; must be seconds"),
        ({"features": rows(8), "times": np.arange(8) * 1j}, "times hold complex128; must be seconds"),
        ({"feats": rows(8)}, "has feats, but no array 'features'"),
        ({"features": np.zeros((8, WIDTH), np.uint16), "times": np.arange(8)}, "holds uint16"),
        pytest.param(
            {"features": np.zeros((8, WIDTH), np.longdouble), "times": np.arange(8)},
            "holds float128",
            marks=pytest.mark.skipif(np.longdouble(0).itemsize == 8, reason="has no longer type"),
        ),
        ({"features": np.zeros(8), "times": np.arange(8)}, "must be rows of features"),
    ],
)
def test_files_without_rows_of_features_count_as_broken(
    coin: Path, arrays: dict[str, np.ndarray], detail: str
) -> None:
    np.savez(coin / "features/0-b3K.npz", **arrays)
    item = read_broken(config(coin), 0)
    assert re.search(detail, item.detail)


def test_damaged_files_count_as_broken(coin: Path) -> None:
    for name in ("0-b3K.npz", "1-xyz.npy"):
        path = coin / "features" / name
        intact = path.read_bytes()
        for content in (b"", intact[:50], intact[: len(intact) // 2], b"text" * 100):
            path.write_bytes(content)
            read_broken(config(coin), int(name[0]))
        path.write_bytes(intact)


def test_an_archive_with_the_suffix_of_an_array_counts_as_broken(coin: Path) -> None:
    with (coin / "features/1-xyz.npy").open("wb") as file:
        np.savez(file, features=rows(8))
    item = read_broken(config(coin), 1)
    assert item.detail.endswith("1-xyz.npy: it is an archive of arrays; name it .npz")


def test_an_array_with_a_damaged_header_counts_as_broken(coin: Path) -> None:
    path = coin / "features/1-xyz.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", b"no array")
    with pytest.raises(DecodeError, match="an array has a damaged header"):
        file_reader.read_npz(str(path))


def test_a_file_that_unpacks_to_far_more_than_its_size_is_not_unpacked(
    coin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_reader, "_FREE_BYTES", 10_000)
    for count, is_broken in ((8, False), (100_000, True)):
        features = np.zeros((count, WIDTH), np.float32)
        np.savez_compressed(coin / "features/0-b3K.npz", features=features, times=np.arange(count))
        item = build_dataset(config(coin), "test")[0]
        assert isinstance(item, BrokenVideo) == is_broken
    assert item.reason == "damaged features"
    assert re.search(r"features\.npy would unpack from [\d,]+ to [\d,]+ bytes, mostly zeros", item.detail)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_view_with_values_that_are_not_finite_counts_as_broken(coin: Path, value: float) -> None:
    """In files of `vtn predict`, rows of NaN stand for frames that cannot be decoded."""
    path = coin / "features/1-xyz.npy"
    features = np.load(path)
    features[3] = value
    np.save(path, features)
    item = read_broken(config(coin), 1)
    assert item.detail == "NaN or infinite values in row 3; extract the features again"


def test_pickled_arrays_are_not_opened(coin: Path) -> None:
    np.save(coin / "features/1-xyz.npy", np.array([{"a": 1}] * 8, dtype=object), allow_pickle=True)
    item = read_broken(config(coin), 1)
    assert "object" in item.detail.lower()


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_all_rows_of_another_byte_order_are_read(coin: Path, dtype: str) -> None:
    np.save(coin / "features/1-xyz.npy", rows(8).astype(dtype))
    dataset = build_dataset(config(coin), "test")
    assert isinstance(dataset, VideoDataset)
    assert isinstance(dataset.reader, FeatureFileReader)
    features, _ = dataset.reader.read_all(dataset.paths[1])
    torch.testing.assert_close(features.float(), torch.from_numpy(rows(8)).float(), rtol=1e-3, atol=0)


def test_a_batch_of_broken_videos_has_no_clips() -> None:
    (batch,) = collate([BrokenVideo(0, "a", "no features")])
    assert batch.num_clips == 0


def test_names_never_leave_the_folder() -> None:
    names = FeatureNames(["/data/videos", ""])
    assert names("/data/videos/a/b.mp4") == "a/b.mp4"
    assert names("/data/videos_2/b.mp4") == "data/videos_2/b.mp4"
    assert names("../x/../../b.mp4") == "%2E%2E/%2E%2E/b.mp4"
    assert names("./a.mp4") == "a.mp4"


def test_a_file_without_a_frame_counts_as_broken(breakfast: Path) -> None:
    """Its rows are columns: the array has a width, and no frame."""
    cfg = config(breakfast, *FRAMES_LAST)
    np.save(breakfast / "features/P03_cam01_P03_coffee.npy", np.zeros((WIDTH, 0), np.float32))
    assert "must be rows of features" in read_broken(cfg, 1).detail


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_batch_of_several_dtypes_holds_the_values_of_all(order: tuple[int, int]) -> None:
    values = [torch.ones(2, 3, dtype=torch.float16), torch.full((2, 3), 1e5)]
    batch = FeatureClip.collate([FeatureClip(values[i], torch.arange(2), 0, i) for i in order])
    assert float(batch.features.amax()) == 1e5
