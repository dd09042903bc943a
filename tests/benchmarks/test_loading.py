"""All loaders of the benchmark read the same clips: frames, scale, crop and flip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.loading import ways
from benchmarks.loading.clip_plans import plan_epoch
from benchmarks.loading.ways import OURS, PYSLOWFAST, SPDL, TORCHCODEC
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.errors import ConfigError
from slowfast.video.decoding import open_video
from tests.support.videos import write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Eight videos of 150 frames whose frames all differ, with key frames every 12 and every 50 frames."""
    folder = tmp_path_factory.mktemp("videos")
    return [
        str(write_video(folder / f"{number}.mp4", 150, size=(96, 128), gop=12 if number % 2 else 50))
        for number in range(8)
    ]


def test_a_plan_is_what_our_loader_reads(videos: list[str], tmp_path: Path) -> None:
    cfg = ways.recipe(tmp_path, videos, workers=0)
    loader = build_loader(cfg, build_dataset(cfg, "train"), "train", batch_size=ways.BATCH)
    for epoch in (0, 1):
        (plans,) = plan_epoch(loader, epoch)
        loader.batch_sampler.set_position(epoch)  # type: ignore[attr-defined]
        (batch,) = loader
        for clip, plan in zip(batch.frames, plans, strict=True):  # type: ignore[attr-defined]
            with open_video(plan.path) as video:
                frames = video.read(np.array(plan.indices), lambda height, width, plan=plan: plan.place)
            assert torch.equal(clip, torch.from_numpy(frames).permute(3, 0, 1, 2))
    assert len({plan.indices for plan in plans}) > 1
    assert {plan.place.flip for plan in plans} == {False, True}


@pytest.mark.parametrize("name", [TORCHCODEC, SPDL])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_peer_reads_the_same_clips(name: str, workers: int, videos: list[str], tmp_path: Path) -> None:
    """They scale by other methods; other frames or crops would be an error."""
    if reason := ways.missing_peer(name):
        pytest.skip(reason)
    cfg = ways.recipe(tmp_path, videos, workers)
    built = ways.build_ways(cfg, [name], num_epochs=2)
    assert ways.decibels(built)[name] > ways.LEAST_DECIBELS
    for ours, theirs in zip(built[OURS](1), built[name](1), strict=True):
        assert theirs.shape == ours.shape == (8, 3, 16, 224, 224)
        assert theirs.dtype == torch.uint8
        assert theirs.stride() == ours.stride()


def test_a_peer_that_reads_other_frames_is_refused(videos: list[str], tmp_path: Path) -> None:
    built = ways.build_ways(ways.recipe(tmp_path, videos, 0), [], num_epochs=1)

    def late(epoch: int) -> Iterator[Tensor]:
        for frames in built[OURS](epoch):
            yield frames.roll(1, dims=2)

    with pytest.raises(RuntimeError, match="late differs from our frames"):
        ways.decibels({**built, "late": late})


def test_pyslowfasts_method_gives_normalized_clips_of_its_own(videos: list[str], tmp_path: Path) -> None:
    built = ways.build_ways(ways.recipe(tmp_path, videos, 0), [PYSLOWFAST], num_epochs=1)
    (frames,) = built[PYSLOWFAST](0)
    assert frames.shape == (8, 3, 16, 224, 224)
    assert frames.dtype == torch.float32
    assert ways.decibels(built) == {}


def test_cpu_time_is_counted(videos: list[str], tmp_path: Path) -> None:
    cfg = ways.recipe(tmp_path, videos, workers=1)
    timed = ways.TimedEpochs(
        ways.build_ways(cfg, [], num_epochs=1)[OURS], tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD)
    )
    timed()
    assert 0.01 < timed.cpu_seconds[0] < 60


def test_whoever_lacks_a_peer_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spdl.io.utils", None)  # importing it is an ImportError
    chosen, (note, *_) = ways.choose_peers(None)
    assert SPDL not in chosen
    assert PYSLOWFAST in chosen
    assert note.startswith("SPDL is not installed, or cannot load FFmpeg's libraries; pip install -e '.[ben")
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[benchmark\]'"):
        ways.choose_peers([SPDL])
