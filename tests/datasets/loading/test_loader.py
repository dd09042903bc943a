"""Batches: padding and masks, broken videos, and the same batches for any number of workers."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.config.defaults import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import BrokenVideo, Clip, ClipBatch, normalize
from slowfast.datasets.loading.loader import build_loader, collate
from slowfast.errors import InputError


@pytest.fixture
def cfg(small_dataset: Path) -> CfgNode:
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(small_dataset)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = 4, 2, 25
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE = [40, 48], 32, 32
    cfg.TRAIN.EVAL_FULL_VIDEO = True
    cfg.MODEL.NUM_CLASSES = 2
    return cfg


def clip(length: int, video_id: int = 0, label: int | torch.Tensor = 1) -> Clip:
    frames = torch.randint(1, 255, (3, length, 4, 6), dtype=torch.uint8)
    return Clip(frames, torch.arange(length) * 2, label, video_id)


@pytest.mark.parametrize("size", [0, -1, "2"])
def test_a_batch_has_clips(cfg: CfgNode, size: Any) -> None:
    with pytest.raises(InputError, match=r"batch_size = .*: must be above 0"):
        build_loader(cfg, build_dataset(cfg, "train"), "train", batch_size=size)


def test_clips_of_one_length_need_no_mask() -> None:
    clips = [clip(5, 7), clip(5, 8)]
    (batch,) = collate(clips)
    assert batch.frames.shape == (2, 3, 5, 4, 6)
    assert batch.mask is None
    assert torch.equal(batch.frames[1], clips[1].frames)
    assert batch.video_id.tolist() == [7, 8]
    assert batch.label.tolist() == [1, 1]


def test_shorter_clips_are_padded_and_masked() -> None:
    clips = [clip(5), clip(2)]
    (batch,) = collate(clips)
    assert batch.mask.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert torch.equal(batch.frames[1, :, :2], clips[1].frames)
    assert batch.frames[1, :, 2:].eq(0).all()
    assert batch.positions[1].tolist() == [0, 2, 0, 0, 0]


def test_labels_of_several_classes_are_stacked() -> None:
    (batch,) = collate(
        [clip(2, label=torch.tensor([1.0, 0.0, 1.0])), clip(2, label=torch.tensor([0.0, 1.0, 0.0]))]
    )
    assert batch.label.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_broken_videos_leave_the_batch_and_are_listed() -> None:
    broken = BrokenVideo(3, "x.mp4", "corrupt")
    (batch,) = collate([clip(2), broken])
    assert len(batch.frames) == 1
    assert batch.broken == (broken,)
    (nothing,) = collate([broken])
    assert len(nothing.frames) == len(nothing.label) == 0
    assert nothing.broken == (broken,)


def test_frames_are_channels_last_images_without_a_copy() -> None:
    frames = normalize(Clip.collate([clip(5), clip(5)]).frames, (0.5,) * 3, (0.5,) * 3)
    images = frames.transpose(1, 2).flatten(0, 1)  # (B, 3, T, H, W) -> (B·T, 3, H, W)
    assert images.data_ptr() == frames.data_ptr()
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel() -> None:
    frames = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1, 1).expand(1, 3, 2, 1, 1)
    done = normalize(frames, (0.5, 0.4, 0.3), (0.5, 0.2, 0.1))
    torch.testing.assert_close(done[0, :, :, 0, 0], torch.tensor([[-1.0, 1.0], [-2.0, 3.0], [-3.0, 7.0]]))


def batches(cfg: CfgNode, split: str, **place: int) -> list[ClipBatch]:
    loader = build_loader(cfg, build_dataset(cfg, split), split, batch_size=4, **place)
    return list(loader)


@pytest.mark.parametrize("split", ["train", "val"])
def test_batches_are_the_same_with_and_without_workers(cfg: CfgNode, split: str) -> None:
    cfg.DATA_LOADER.NUM_WORKERS = 0
    alone = batches(cfg, split)
    cfg.DATA_LOADER.NUM_WORKERS = 2
    parallel = batches(cfg, split)
    assert len(alone) == len(parallel) == 2
    for a, b in zip(alone, parallel, strict=True):
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.positions, b.positions)
        assert a.video_id.tolist() == b.video_id.tolist()


def test_two_processes_divide_an_evaluation_between_them(cfg: CfgNode) -> None:
    cfg.DATA_LOADER.NUM_WORKERS = 0
    videos = [b.video_id.tolist() for rank in range(2) for b in batches(cfg, "val", rank=rank, world_size=2)]
    assert list(chain(*videos)) == list(range(8))


def test_loading_leaves_the_global_random_stream_alone(cfg: CfgNode) -> None:
    cfg.DATA_LOADER.NUM_WORKERS = 0
    state = torch.get_rng_state()
    batches(cfg, "train")
    assert torch.equal(torch.get_rng_state(), state)
