"""Items of the video data set: views, positions, seeds, broken videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.config.defaults import get_default_config
from slowfast.datasets.build import build_dataset, read_annotations
from slowfast.datasets.clip import BrokenVideo, Clip
from slowfast.datasets.loading.samplers import SampleRef
from slowfast.datasets.video_dataset import VideoDataset, count_shared_videos
from slowfast.errors import ConfigError
from slowfast.models import build_model
from tests.support.reading.data_sets import stamps_of
from tests.support.videos import write_csv, write_video


@pytest.fixture
def cfg(small_dataset: Path) -> CfgNode:
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(small_dataset)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = 4, 2, 25
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE = [40, 48], 32, 32
    cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 2, 3
    cfg.MODEL.NUM_CLASSES = 2
    return cfg


def full_frames(cfg: CfgNode) -> CfgNode:
    """Returns the configuration for square videos without crop and flip, so that stamps can be read."""
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE = [48, 48], 48, 48
    cfg.DATA.RANDOM_FLIP = False
    return cfg


def test_a_training_clip_has_its_frames_label_and_numbers(cfg: CfgNode) -> None:
    dataset = build_dataset(cfg, "train")
    assert (len(dataset), dataset.num_videos, dataset.num_views) == (8, 8, 1)
    clip = dataset[3]
    assert clip.frames.shape == (3, 4, 32, 32)
    assert clip.frames.dtype == torch.uint8
    assert (clip.label, clip.video_id, clip.view_id, clip.broken) == (1, 3, 0, ())
    assert dataset.labels.tolist() == [0, 1] * 4
    assert dataset.paths[3].endswith("3.mp4")
    for index in (np.int64(3), torch.tensor(3)):  # as of torch.randperm
        assert torch.equal(dataset[index].frames, clip.frames)


def test_a_data_set_has_the_views_of_its_reader(cfg: CfgNode) -> None:
    built = build_dataset(cfg, "test")
    dataset = VideoDataset(read_annotations(cfg, "test"), built.reader)
    assert (len(dataset), dataset.num_views) == (len(built), 6)
    assert dataset[5].view_id == 5


@pytest.mark.parametrize("wrong", ["QUICKSTART", None, {}])
def test_what_is_not_a_configuration_is_named(wrong: Any) -> None:
    for build in (lambda: build_dataset(wrong, "train"), lambda: build_model(wrong)):
        with pytest.raises(ConfigError, match=r"must be a configuration; slowfast\.config\.load_config"):
            build()


def test_videos_of_two_lists_are_counted_but_not_segments(cfg: CfgNode, tmp_path: Path) -> None:
    datasets = build_dataset(cfg, "train"), build_dataset(cfg, "val")
    assert count_shared_videos(*datasets) == 8
    for split, row in (("train", "0 1"), ("val", "1 2")):
        (tmp_path / f"{split}.csv").write_text(f"path label start end\n{datasets[0].paths[0]} 0 {row}\n")
    cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path)
    assert count_shared_videos(build_dataset(cfg, "train"), build_dataset(cfg, "val")) == 0


def test_positions_name_the_frames_stamps_of(cfg: CfgNode) -> None:
    dataset = build_dataset(full_frames(cfg), "train")
    for epoch in range(4):
        clip = dataset[SampleRef(epoch, 6)]
        assert clip.positions.tolist() == stamps_of(clip)


def test_positions_are_seconds_times_a_rate_on_request(cfg: CfgNode) -> None:
    cfg.TRAIN.EVAL_FULL_VIDEO = True
    clip = build_dataset(cfg, "val", position_rate=10.0)[0]
    assert clip.positions.tolist() == [round(i / 25 * 10) for i in range(10)]


def test_a_clip_depends_on_seed_epoch_and_index_alone(cfg: CfgNode) -> None:
    def clip(seed: int, epoch: int) -> list[int]:
        cfg.RNG_SEED = seed
        item = build_dataset(cfg, "train")[SampleRef(epoch, 7)]
        return item.frames.flatten().tolist()

    assert clip(1, 0) == clip(1, 0)
    assert clip(1, 0) != clip(1, 1)
    assert clip(1, 0) != clip(2, 0)


def test_views_of_a_video_are_consecutive_items(cfg: CfgNode) -> None:
    dataset = build_dataset(cfg, "test")
    assert dataset.num_views == 6
    clips = [dataset[6 * 7 + view] for view in range(6)]
    assert [clip.view_id for clip in clips if isinstance(clip, Clip)] == list(range(6))
    starts = [int(clip.positions[0]) for clip in clips if isinstance(clip, Clip)]
    assert starts == [0, 0, 0, 8, 8, 8]  # (24 − 8) × view / 2


def test_validation_takes_the_centre(cfg: CfgNode) -> None:
    dataset = build_dataset(cfg, "val")
    assert dataset.num_views == 1
    clip = dataset[7]
    assert clip.positions[0] == 8  # (24 − 8) / 2
    assert clip.positions.tolist() == [8, 10, 12, 15]


@pytest.mark.parametrize(("num_frames", "expected"), [(5, [0, 5, 11, 17, 23]), (0, list(range(24)))])
def test_full_videos_are_read_for_evaluation(cfg: CfgNode, num_frames: int, expected: list[int]) -> None:
    cfg.TRAIN.EVAL_FULL_VIDEO, cfg.TRAIN.EVAL_NUM_FRAMES = True, num_frames
    for split in ("val", "test"):
        cfg.TEST.NUM_SPATIAL_CROPS = 1
        clip = build_dataset(full_frames(cfg), split)[7]
        assert clip.positions.tolist() == expected


def test_shuffled_frames_keep_their_positions(cfg: CfgNode) -> None:
    cfg.TEST.SHUFFLE_FRAMES = cfg.TRAIN.EVAL_FULL_VIDEO = True
    cfg.TEST.NUM_SPATIAL_CROPS = 1
    dataset = build_dataset(full_frames(cfg), "test")
    clip = dataset[6]
    assert clip.positions.tolist() == list(range(22))
    assert stamps_of(clip) != list(range(22))
    assert sorted(stamps_of(clip)) == list(range(22))
    assert stamps_of(clip) == stamps_of(dataset[6])


def test_channels_are_reversed_on_request(cfg: CfgNode) -> None:
    plain = build_dataset(cfg, "val")[0]
    cfg.DATA.REVERSE_INPUT_CHANNEL = True
    reversed_ = build_dataset(cfg, "val")[0]
    assert torch.equal(reversed_.frames, plain.frames.flip(0))


def test_an_unknown_data_set_is_named(cfg: CfgNode) -> None:
    cfg.TRAIN.DATASET = "kinetic"
    with pytest.raises(ConfigError, match="did you mean kinetics"):
        build_dataset(cfg, "train")


class TestBrokenVideos:
    """Three videos, of which 0 and 1 cannot be decoded."""

    @pytest.fixture
    def broken(self, cfg: CfgNode, tmp_path: Path) -> CfgNode:
        (tmp_path / "text.mp4").write_text("no video")
        good = write_video(tmp_path / "good.mp4", 20, size=(48, 48))
        videos = [(tmp_path / "text.mp4", 0), (tmp_path / "missing.mp4", 0), (good, 1)]
        for split in ("train", "val", "test"):
            write_csv(tmp_path / f"{split}.csv", videos)
        cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path)
        return cfg

    def test_in_evaluation_the_item_names_the_fault(self, broken: CfgNode, tmp_path: Path) -> None:
        dataset = build_dataset(broken, "val")
        missing = dataset[1]
        assert (missing.video_id, missing.reason) == (1, "missing")
        assert missing.path == str(tmp_path / "missing.mp4")

    def test_in_training_another_video_is_substituted(self, broken: CfgNode) -> None:
        dataset = build_dataset(broken, "train")
        for epoch in range(3):
            clip, again = dataset[SampleRef(epoch, 0)], dataset[SampleRef(epoch, 0)]
            assert (clip.video_id, clip.label) == (2, 1)
            assert clip.broken[0].reason == "not a video"
            assert torch.equal(clip.frames, again.frames)

    def test_where_no_video_can_be_decoded_the_item_is_broken(self, broken: CfgNode, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", [(tmp_path / "missing.mp4", 0)])
        assert isinstance(build_dataset(broken, "train")[0], BrokenVideo)


@pytest.mark.parametrize("backend", ["pyav", "torchcodec"])
def test_a_truncated_video_is_used_and_named(
    cfg: CfgNode, tmp_path: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A download that was interrupted: its label may be of what is not there."""
    cfg.DATA.DECODING_BACKEND = backend
    cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path)
    whole = write_video(
        tmp_path / "cut.mp4", 60, size=(128, 128), container_options={"movflags": "faststart"}
    )
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    write_csv(tmp_path / "val.csv", [(whole, 0), (write_video(tmp_path / "0.mp4", 20), 1)])
    dataset = build_dataset(cfg, "val")
    with caplog.at_level("WARNING"):
        assert all(isinstance(dataset[i], Clip) for i in (0, 0, 1))
    (line,) = (line for line in caplog.messages if "truncated" in line)
    assert line.startswith(f"{whole}: is truncated (")
    assert line.endswith(" of 60 frames are present); `slowfast prepare scan` finds such videos")
