"""Long videos are evaluated chunk by chunk, with the same scores as at once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slowfast.config.check import check
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import BrokenVideo, Clip, StreamedClip
from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_evaluator
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.models import frame_encoder
from slowfast.video.pyav_video import PyAVVideo
from tests.support.tiny import CLASSES, Tiny, tiny_config
from tests.support.videos import write_csv, write_video

LENGTHS = (70, 12, 90, 30)
LIMIT = 40
FULL_VIDEO = ("TRAIN.EVAL_FULL_VIDEO", True, "TEST.NUM_ENSEMBLE_VIEWS", 1, "DATA.TARGET_FPS", 25)


class FrameByFrame(nn.Module):
    """A model whose features are the mean colours of a 4 × 4 grid, classified by a recurrent network."""

    frame_mean = frame_std = (0.5, 0.5, 0.5)
    position_rate = None
    num_classes = CLASSES

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.reader = nn.GRU(49, 16, batch_first=True)
        self.head = nn.Linear(16, CLASSES)
        self.most_frames = 0

    def encode_frames(self, frames: Tensor) -> Tensor:
        self.most_frames = max(self.most_frames, frames.shape[2])
        grid = nn.functional.adaptive_avg_pool3d(frames, (frames.shape[2], 4, 4))  # (B, 3, T, 4, 4)
        return grid.transpose(1, 2).flatten(2)

    def classify(self, features: Tensor, positions: Tensor) -> Tensor:
        states, _ = self.reader(torch.cat([features, positions[..., None] / 10], dim=2))
        return self.head(states[:, -1] * 5)

    def forward(self, frames: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None, "batches of one clip"
        return self.classify(self.encode_frames(frames), positions)


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    videos = [
        (write_video(folder / f"{i}.mp4", n, size=(48, 64), bf="2"), i % 3) for i, n in enumerate(LENGTHS)
    ]
    for split in ("train", "val", "test"):
        write_csv(folder / f"{split}.csv", videos)
    return folder


def evaluation(data: Path, output: Path, *changes: Any, model: nn.Module | None = None) -> Any:
    cfg = tiny_config(data, output, "TEST.BATCH_SIZE", 1, *FULL_VIDEO, *changes)
    return build_evaluator(cfg, "test", model or FrameByFrame(), World(), Interrupt()).run()


@pytest.mark.parametrize(
    "changes",
    [(), ("TEST.SHUFFLE_FRAMES", True), ("TEST.NUM_SPATIAL_CROPS", 3, "DATA.REVERSE_INPUT_CHANNEL", True)],
)
def test_scores_equal_the_scores_of_all_frames_at_once(
    long_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[Any, ...]
) -> None:
    monkeypatch.setattr(frame_encoder, "CHUNK_FRAMES", 16)
    model = FrameByFrame()
    streamed = evaluation(long_videos, tmp_path, "TRAIN.EVAL_STREAM_FRAMES", LIMIT, *changes, model=model)
    assert model.most_frames == LENGTHS[3]  # the longest video within the limit
    at_once = evaluation(long_videos, tmp_path, "TRAIN.EVAL_STREAM_FRAMES", 0, *changes)
    np.testing.assert_allclose(streamed.scores, at_once.scores, atol=1e-5)
    assert np.ptp(at_once.scores, axis=0).max() > 0.01, "videos must differ for the test to mean anything"
    np.testing.assert_array_equal(streamed.labels, at_once.labels)
    assert streamed.loss == pytest.approx(at_once.loss, abs=1e-5)
    assert streamed.num_views.tolist() == at_once.num_views.tolist()


def test_a_worker_plans_a_streamed_view_and_does_not_decode_it(long_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(long_videos, tmp_path, *FULL_VIDEO, "TRAIN.EVAL_STREAM_FRAMES", LIMIT)
    dataset = build_dataset(cfg, "test", streamed_views=True)
    items = [dataset[i] for i in range(4)]
    assert [type(item) for item in items] == [StreamedClip, Clip, StreamedClip, Clip]
    sent = pickle.dumps(items[2])
    assert len(sent) < 4000  # indices and positions, no pixels
    view = pickle.loads(sent).view  # noqa: S301 (as between processes)
    chunks = list(view.chunks(32))
    assert [tuple(chunk.shape) for chunk in chunks] == [(3, 32, 32, 32), (3, 32, 32, 32), (3, 26, 32, 32)]
    clip = build_dataset(cfg, "test")[2]
    assert isinstance(clip, Clip)
    assert torch.equal(torch.cat(chunks, dim=1), clip.frames)
    assert torch.equal(view.positions, clip.positions)


def test_scores_do_not_depend_on_workers(long_videos: Path, tmp_path: Path) -> None:
    limit = ("TRAIN.EVAL_STREAM_FRAMES", LIMIT)
    without_worker = evaluation(long_videos, tmp_path, *limit)
    with_worker = evaluation(long_videos, tmp_path, *limit, "DATA_LOADER.NUM_WORKERS", 1)
    np.testing.assert_array_equal(without_worker.scores, with_worker.scores)


def test_a_model_that_needs_all_frames_at_once_gets_them(long_videos: Path, tmp_path: Path) -> None:
    found = evaluation(long_videos, tmp_path, "TRAIN.EVAL_STREAM_FRAMES", LIMIT, model=Tiny())
    assert found.video_ids.tolist() == [0, 1, 2, 3]


def test_training_clips_are_never_streamed(long_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(long_videos, tmp_path, "TRAIN.EVAL_STREAM_FRAMES", 1)
    assert isinstance(build_dataset(cfg, "train", streamed_views=True)[0], Clip)


def test_a_long_video_that_breaks_is_listed(long_videos: Path, tmp_path: Path) -> None:
    damaged = write_video(tmp_path / "damaged.mp4", 90, size=(48, 64), bf="2")
    content = bytearray(damaged.read_bytes())
    start = content.index(b"mdat") + 2000
    content[start : start + 2000] = bytes(2000)
    damaged.write_bytes(content)
    write_csv(tmp_path / "test.csv", [(long_videos / "1.mp4", 0), (damaged, 1)])
    found = evaluation(tmp_path, tmp_path, "TRAIN.EVAL_STREAM_FRAMES", LIMIT)
    assert found.video_ids.tolist() == [0]
    assert [(video.video_id, video.path) for video in found.broken] == [(1, str(damaged))]


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error")])
@pytest.mark.parametrize("limit", [LIMIT, 0])
def test_a_long_video_that_cannot_be_read_is_listed_like_a_short_one(
    error: Exception, limit: int, long_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = str(long_videos / "2.mp4")
    for method in ("read", "read_chunks"):
        monkeypatch.setattr(PyAVVideo, method, raising_for(lost, error, getattr(PyAVVideo, method)))
    found = evaluation(long_videos, tmp_path, "TRAIN.EVAL_STREAM_FRAMES", limit)
    assert found.video_ids.tolist() == [0, 1, 3]
    assert found.broken == (BrokenVideo(2, lost, "unreadable", repr(error)),)


def raising_for(path: str, error: Exception, method: Any) -> Any:
    """Returns a method of open videos that raises ``error`` for one of them."""

    def read(video: PyAVVideo, *rest: Any) -> Any:
        if video.name == path:
            raise error
        return method(video, *rest)

    return read


def test_a_signal_ends_the_evaluation_between_two_chunks(
    long_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_encoder, "CHUNK_FRAMES", 8)
    interrupt = Interrupt()

    class Interrupting(FrameByFrame):
        chunks = 0

        def encode_frames(self, frames: Tensor) -> Tensor:
            self.chunks += 1
            interrupt.signum = 2
            return super().encode_frames(frames)

    model = Interrupting()
    cfg = tiny_config(
        long_videos, tmp_path, "TEST.BATCH_SIZE", 1, *FULL_VIDEO, "TRAIN.EVAL_STREAM_FRAMES", LIMIT
    )
    with pytest.raises(Interrupted):
        build_evaluator(cfg, "test", model, World(), interrupt).run()
    assert model.chunks == 1


def test_the_limit_is_checked(long_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(long_videos, tmp_path).clone()
    cfg.defrost()
    cfg.TRAIN.EVAL_STREAM_FRAMES = -1
    assert any("TRAIN.EVAL_STREAM_FRAMES = -1" in problem for problem in check(cfg))
