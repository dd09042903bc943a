"""Tests on the whole picture: sizes of frames, wide, tall and turned videos, batches of several sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from hypothesis import given
from hypothesis import strategies as st

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import BrokenVideo, Clip, StreamedClip
from slowfast.datasets.loading.loader import build_loader, collate
from slowfast.datasets.views.build import build_views
from slowfast.datasets.views.spatial import whole_picture
from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_evaluator
from slowfast.errors import ConfigError
from slowfast.interrupt import Interrupt
from slowfast.models.frame_format import adopt_frame_format
from tests.support.tiny import tiny_config
from tests.support.tiny_features import TinyFeatures
from tests.support.videos import read_stamps, write_csv, write_video

# (height, width) of the videos, and of pictures with a short side of 32 pixels, sides in multiples of 8.
SIZES = {
    (64, 64): (32, 32),
    (64, 112): (32, 56),
    (64, 96): (32, 48),
    (96, 64): (48, 32),
    (48, 160): (32, 104),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten stamped videos of five sizes, in turn, of 8 to 17 frames."""
    folder = tmp_path_factory.mktemp("whole_pictures")
    listed = []
    for i in range(10):
        path = write_video(folder / f"{i}.mp4", 8 + i, size=[*SIZES][i % 5], crf="5")
        listed.append((path, i % 3))
    for split in ("train", "val", "test"):
        write_csv(folder / f"{split}.csv", listed)
    return folder


def config(videos: Path, output: Path, *changes: Any) -> CfgNode:
    return tiny_config(
        videos, output, "DATA.TEST_WHOLE_PICTURE", True, "DATA.TEST_PICTURE_MULTIPLE", 8,
        "TEST.NUM_ENSEMBLE_VIEWS", 1, "TRAIN.EVAL_FULL_VIDEO", True, "DATA.TARGET_FPS", 25,
        "MODEL.MODEL_NAME", "TinyFeatures", "MODEL.ARCH", "frozen", "MODEL.HEAD_ACT", "none", *changes,
    )  # fmt: skip


# --------------------------------------------------------------------------------------- the size


@pytest.mark.parametrize(
    ("size", "short_side", "multiple", "expected"),
    [
        ((90, 120), 96, 1, (96, 128)),
        ((120, 90), 96, 1, (128, 96)),
        ((1080, 1920), 224, 1, (224, 398)),  # 398.2
        ((1080, 1920), 224, 14, (224, 392)),  # 28.4 patches
        ((1080, 1920), 224, 16, (224, 400)),  # 24.9 patches
        ((100, 100), 96, 16, (96, 96)),
        ((2, 3), 16, 16, (16, 32)),  # 1.5 patches: a half is rounded up
    ],
)
def test_both_sides_are_rounded_to_the_nearest_multiple(
    size: tuple[int, int], short_side: int, multiple: int, expected: tuple[int, int]
) -> None:
    place = whole_picture(short_side, multiple)(*size)
    assert (place.height, place.width) == expected
    assert (place.top, place.left, place.crop_height, place.crop_width) == (0, 0, *expected)


@given(
    height=st.integers(2, 4000),
    width=st.integers(2, 4000),
    patches=st.integers(1, 40),
    multiple=st.integers(1, 32),
)
def test_the_aspect_ratio_is_kept_up_to_half_a_multiple(
    height: int, width: int, patches: int, multiple: int
) -> None:
    short_side = patches * multiple
    place = whole_picture(short_side, multiple)(height, width)
    scale = short_side / min(height, width)
    assert min(place.height, place.width) == short_side
    assert place.height % multiple == place.width % multiple == 0
    assert abs(place.height - height * scale) <= multiple / 2 + 1e-6
    assert abs(place.width - width * scale) <= multiple / 2 + 1e-6


# ---------------------------------------------------------------------------------- of real videos


def test_each_video_has_its_own_size_and_shows_all_of_the_picture(videos: Path, tmp_path: Path) -> None:
    """The stamp of a frame, which covers all of it, can be read."""
    dataset = build_dataset(config(videos, tmp_path), "test")
    for i, expected in enumerate([*SIZES.values()] * 2):
        clip = dataset[i]
        assert clip.frames.shape == (3, 8 + i, *expected)
        assert read_stamps(clip.frames.permute(1, 2, 3, 0).numpy()) == list(range(8 + i))


def test_a_turned_video_has_the_size_that_players_show(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 8, size=(64, 96), rotation=90)
    write_csv(tmp_path / "test.csv", [(video, 0)])
    clip = build_dataset(config(tmp_path, tmp_path), "test")[0]
    assert clip.frames.shape == (3, 8, 48, 32)


@pytest.mark.parametrize("split", ["train", "val"])
def test_only_tests_see_the_whole_picture(videos: Path, tmp_path: Path, split: str) -> None:
    for clip in map(build_dataset(config(videos, tmp_path), split).__getitem__, range(5)):
        assert clip.frames.shape[2:] == (32, 32)


def test_clips_at_several_times_see_it_too(videos: Path, tmp_path: Path) -> None:
    changes = ("TRAIN.EVAL_FULL_VIDEO", False, "TEST.NUM_ENSEMBLE_VIEWS", 2)
    dataset = build_dataset(config(videos, tmp_path, *changes), "test")
    shapes = [dataset[i].frames.shape for i in range(4)]  # type: ignore[union-attr]
    assert shapes == [(3, 4, 32, 32)] * 2 + [(3, 4, 32, 56)] * 2


def test_a_size_left_to_the_model_must_be_filled_in_first(videos: Path, tmp_path: Path) -> None:
    cfg = config(videos, tmp_path, "DATA.TEST_PICTURE_MULTIPLE", 0)
    with pytest.raises(ConfigError, match=r"TEST_PICTURE_MULTIPLE = 0: must not be left to the model"):
        build_views(cfg, "test")
    model = TinyFeatures()
    model.frame_multiple = 4  # type: ignore[assignment]
    assert build_views(adopt_frame_format(cfg, model), "test").picture_multiple == 4  # type: ignore[union-attr]


# ----------------------------------------------------------------------- batches of several sizes


def clip(video_id: int, width: int) -> Clip:
    frames = torch.randint(0, 256, (3, 2, 4, width), dtype=torch.uint8)
    return Clip(frames, torch.arange(2), 0, video_id)


def test_clips_of_one_size_become_one_batch() -> None:
    """All but the last batch of a step say that another one follows; the last lists what is not in frames."""
    broken = BrokenVideo(7, "x.mp4", "corrupt")
    streamed: Any = StreamedClip(None, 0, 8, 0)  # type: ignore[arg-type]
    first, second = collate([clip(0, 6), broken, clip(1, 4), streamed, clip(2, 6)], several_sizes=True)
    assert first.video_id.tolist() == [0, 2]
    assert (first.is_continued, first.broken, first.streamed) == (True, (), ())
    assert second.video_id.tolist() == [1]
    assert (second.is_continued, second.broken, second.streamed) == (False, (broken,), (streamed,))


def test_a_step_without_clips_is_one_empty_batch() -> None:
    (only,) = collate([BrokenVideo(7, "x.mp4", "corrupt")], several_sizes=True)
    assert (only.num_clips, only.is_continued, len(only.broken)) == (0, False, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_yields_every_video_once(videos: Path, tmp_path: Path, workers: int) -> None:
    cfg = config(videos, tmp_path, "DATA_LOADER.NUM_WORKERS", workers)
    loader = build_loader(cfg, build_dataset(cfg, "test"), "test", batch_size=7)
    batches = [*loader]
    assert sorted(video for batch in batches for video in batch.video_id.tolist()) == list(range(10))
    # Videos 0 to 6 have five sizes, 7 to 9 three.
    assert [batch.is_continued for batch in batches] == [True] * 4 + [False] + [True] * 2 + [False]
    assert len(loader) == 2


def scores(cfg: CfgNode) -> np.ndarray:
    torch.manual_seed(0)
    evaluation = build_evaluator(cfg, "test", TinyFeatures().eval(), World(), Interrupt()).run()
    assert evaluation.video_ids.tolist() == list(range(10))
    return evaluation.scores


@pytest.mark.parametrize("limit", [512, 10, 1])
def test_scores_do_not_depend_on_the_batch(videos: Path, tmp_path: Path, limit: int) -> None:
    """Five sizes in one batch give the scores of single videos; also where some or all views are streamed."""
    alone = scores(config(videos, tmp_path, "TEST.BATCH_SIZE", 1))
    together = scores(config(videos, tmp_path, "TEST.BATCH_SIZE", 10, "TRAIN.EVAL_STREAM_FRAMES", limit))
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(alone, axis=0).min() > 0.01
    crops = scores(config(videos, tmp_path, "DATA.TEST_WHOLE_PICTURE", False))
    squares = [0, 5]  # square videos have no sides to lose
    np.testing.assert_allclose(crops[squares], alone[squares], atol=1e-5)
    assert np.abs(crops - alone).max(axis=1)[[1, 2, 3, 4, 6, 7, 8, 9]].min() > 1e-4


def test_progress_counts_steps_not_batches(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        scores(config(videos, tmp_path, "TEST.BATCH_SIZE", 5))
    steps = [record.message for record in caplog.records if '"test_iter"' in record.getMessage()]
    assert len(steps) == 2
    assert '"iter": "2/2"' in steps[1]
