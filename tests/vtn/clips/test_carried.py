"""Clip encoders in configurations, caches, streams, windows, predictions and published folders.

T frames, S time steps, M tokens, F width of a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Normalization, normalize
from slowfast.distributed.world import World
from slowfast.engine.run import run
from slowfast.engine.run_model import build_seeded_model
from slowfast.errors import ConfigError, InputError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.features.batch import FeatureClip
from slowfast.features.cache import Variant
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.models.frame_format import adopt_frame_format
from slowfast.video.decoding import open_video
from tests.support.clips.backbone import FRAMES, SIZE, TUBELET, tiny_clip_model
from tests.support.tiny_models import scores_of_test_split, small_run_config
from tests.support.videos import write_csv, write_video
from vtn import VTN, VideoFeatures, VideoStream, score_video, score_windows
from vtn.inference.extract import FrameView, extract_video_features

FPS = 5


def write_noise(path: Path, frames: int, seed: int, **options: Any) -> Path:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (frames, 4, 4, 3), np.uint8)
    images = list(noise.repeat(8, axis=1).repeat(8, axis=2))
    return write_video(path, images, fps=FPS, size=(SIZE, SIZE), **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 7 to 26 frames at 5 frames per second."""
    folder = tmp_path_factory.mktemp("videos")
    for split, lengths in (("train", (7, 12, 16, 20, 9, 26)), ("val", (9, 16)), ("test", (26, 7, 17))):
        videos = [
            (write_noise(folder / f"{split}{i}.mp4", length, seed=i), i % 3)
            for i, length in enumerate(lengths)
        ]
        write_csv(folder / f"{split}.csv", videos)
    return folder


def config(data: Path, output: Path, *changes: Any) -> CfgNode:
    clips = (
        "VTN.BACKBONE.NAME", "tiny_clips", "VTN.BACKBONE.ARGS", {}, "DATA.NUM_FRAMES", 0,
        "DATA.SAMPLING_RATE", 0, "VTN.LONGFORMER.POSITION", "sinusoidal",
        "VTN.LONGFORMER.POSITION_UNIT", "second",
    )  # fmt: skip
    return small_run_config(data, output, SIZE, *clips, *changes)


@pytest.mark.parametrize("unit", ["second", "frame"])
@pytest.mark.parametrize("full_video", [True, False])
@pytest.mark.parametrize("stride", [0, 4, 12])
def test_scores_from_the_cache_equal_the_scores_from_frames(
    data: Path, tmp_path: Path, stride: int, full_video: bool, unit: str
) -> None:
    changes = (
        "VTN.BACKBONE.CLIP_STRIDE", stride, "TRAIN.EVAL_FULL_VIDEO", full_video,
        "VTN.BACKBONE.TOKENS", [2, 2], "VTN.LONGFORMER.POSITION_UNIT", unit,
    )  # fmt: skip
    if not full_video:
        # Clips of the test begin where the cache has time steps: at the start of each video.
        changes = (*changes, "TEST.NUM_ENSEMBLE_VIEWS", 1, "DATA.NUM_FRAMES", 26)
    features = tmp_path / "features"
    cached = config(
        data, tmp_path / "cached", *changes, "DATA.FEATURES", features, "DATA.FEATURES_LAYOUT", "frames_first"
    )
    extract_features(cached, World(), Interrupt(), ExtractionRequest(dtype="float32"))
    expected = scores_of_test_split(config(data, tmp_path / "frames", *changes))
    np.testing.assert_allclose(scores_of_test_split(cached), expected, atol=1e-4)


def test_views_that_are_streamed_equal_those_in_memory(data: Path, tmp_path: Path) -> None:
    changes = ("TRAIN.EVAL_FULL_VIDEO", True, "VTN.BACKBONE.CLIP_STRIDE", 6)
    expected = scores_of_test_split(config(data, tmp_path, *changes, "TRAIN.EVAL_STREAM_FRAMES", 0))
    streamed = config(data, tmp_path, *changes, "TRAIN.EVAL_STREAM_FRAMES", 10)
    np.testing.assert_allclose(scores_of_test_split(streamed), expected, atol=1e-4)
    shuffled = config(data, tmp_path, *changes, "TRAIN.EVAL_STREAM_FRAMES", 10, "TEST.SHUFFLE_FRAMES", True)
    with pytest.raises(ConfigError, match=r"SHUFFLE_FRAMES = True: .* set TRAIN.EVAL_STREAM_FRAMES 0"):
        scores_of_test_split(shuffled)


def test_a_run_trains_from_frames_and_from_the_cache(data: Path, tmp_path: Path) -> None:
    frames = config(data, tmp_path / "frames", "TRAIN.EVAL_FULL_VIDEO", False, "VTN.BACKBONE.FROZEN", False)
    assert run(frames) == 0
    features = tmp_path / "features"
    cached = config(data, tmp_path / "cached", "DATA.FEATURES", features, "DATA.NUM_FRAMES", 12)
    extract_features(cached, World(), Interrupt(), ExtractionRequest())
    assert run(cached) == 0
    model: Any = build_seeded_model(cached, World(), fetch_weights=False)
    adopted = adopt_frame_format(cached, model)
    assert (adopted.DATA.TARGET_FPS, adopted.DATA.SAMPLING_RATE, adopted.DATA.FEATURES_FPS) == (5.0, 1, 5.0)
    item = build_dataset(
        adopted, "train", position_rate=model.position_rate, feature_shape=model.feature_shape
    )[3]
    assert isinstance(item, FeatureClip)
    assert item.features.shape == (6, model.feature_dim), "12 frames have 6 time steps"


def test_an_interrupted_extraction_continues_at_a_clip(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slowfast.models.frame_encoder.CHUNK_FRAMES", FRAMES)
    changes = ("VTN.BACKBONE.CLIP_STRIDE", 4, "TRAIN.ENABLE", False)

    def extract(folder: Path, interrupt: Interrupt) -> None:
        cfg = config(data, tmp_path, *changes, "DATA.FEATURES", folder)
        extract_features(cfg, World(), interrupt, ExtractionRequest(dtype="float32"))

    class StopSoon(Interrupt):
        calls = 0

        def raise_if_requested(self) -> None:
            self.calls += 1
            if self.calls == 2:
                raise Interrupted(2, "stopped")

    interrupt = StopSoon()
    interrupt.request(2)
    with pytest.raises(Interrupted):
        extract(tmp_path / "stopped", interrupt)
    for _ in range(2):
        extract(tmp_path / "stopped", Interrupt())
    extract(tmp_path / "unbroken", Interrupt())
    files = sorted((tmp_path / "unbroken").glob("short*/*.npy"))
    assert len(files) == 3
    for path in files:
        other = tmp_path / "stopped" / path.relative_to(tmp_path / "unbroken")
        np.testing.assert_allclose(np.load(other), np.load(path), atol=1e-6)


VIEW = FrameView(FPS, Variant(SIZE, SIZE), Normalization((0.45,) * 3, (0.225,) * 3))


@pytest.fixture(
    params=[(4, None), (4, 24.0), (12, None), (12, 24.0)],
    ids=["overlap, frame numbers", "overlap, seconds", "gaps, frame numbers", "gaps, seconds"],
)
def model(request: pytest.FixtureRequest) -> VTN:
    clip_stride, position_rate = request.param
    return tiny_clip_model(clip_stride=clip_stride, position_rate=position_rate)


@torch.no_grad()
def test_predictions_windows_and_streams_agree(model: VTN, data: Path, tmp_path: Path) -> None:
    path = data / "test0.mp4"
    video = extract_video_features(model, path, VIEW, tmp_path / "f.npy")
    with open_video(str(path)) as source:
        frames, seconds = source.read(np.arange(26)), source.times.seconds
    assert model.clip_grid is not None
    used = model.clip_grid.used_frames(26)
    clip = torch.from_numpy(frames[used]).permute(3, 0, 1, 2)[None]
    clip = normalize(clip, model.frame_mean, model.frame_std)
    torch.testing.assert_close(video.features[None], model.encode_frames(clip), atol=1e-4, rtol=1e-4)
    firsts = used[::TUBELET]
    assert len(video.features) == len(firsts)
    if model.position_rate is None:
        assert video.positions(None).tolist() == firsts.tolist()
    else:
        assert video.positions(24.0).tolist() == [round((i / FPS + 0.1) * 24) for i in firsts]
    stream = VideoStream(model)
    for first, stop in ((0, 1), (1, 9), (9, 10), (10, 26)):
        stream.push(frames[first:stop], seconds[first:stop])
        alone = video_until(model, frames, seconds, stop)
        np.testing.assert_allclose(stream.scores(), score_video(model, alone), atol=1e-4)
    np.testing.assert_allclose(stream.scores(), score_video(model, video), atol=1e-4)
    assert stream.seconds == seconds[-1]
    timeline = score_windows(model, video, window_seconds=2.0, stride_seconds=2.0)
    np.testing.assert_allclose(timeline.scores[-1], score_video(model, video.part(4.0, 6.0)), atol=1e-5)
    assert video.part(2.4, 4.4).positions(model.position_rate)[0] == video.positions(model.position_rate)[0]


def video_until(model: VTN, frames: np.ndarray, seconds: np.ndarray, stop: int) -> VideoFeatures:
    """Returns the features of the first frames of a video, as a stream that is pushed at once has them."""
    stream = VideoStream(model)
    stream.push(frames[:stop], seconds[:stop])
    return stream.video()


def test_frames_that_cannot_be_decoded_leave_out_their_time_steps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """The frame before a missing one stands for it, since the steps beside it see the whole clip."""
    model = tiny_clip_model()
    path = data / "test0.mp4"
    with open_video(str(path)) as source:
        frames = source.read(np.arange(26))
    lost = {3, 10, 11}
    video_class = type(open_video(str(path)))
    decode = video_class.read_chunks

    def read_chunks(
        self: Any, indices: Any, size: int, placer: Any, missing: set[int]
    ) -> Iterator[np.ndarray]:
        for first, chunk in zip(range(0, 26, size), decode(self, indices, size, placer), strict=False):
            gone = [index for index in sorted(lost) if first <= index < first + len(chunk)]
            missing.update(gone)
            chunk[[index - first for index in gone]] = 0
            yield chunk

    monkeypatch.setattr(video_class, "read_chunks", read_chunks)
    video = extract_video_features(model, path, VIEW, tmp_path / "f.npy")
    assert video.mask is not None
    assert (~video.mask).nonzero().flatten().tolist() == [5]
    for index in sorted(lost):
        frames[index] = frames[index - 1]
    stream = VideoStream(model)
    stream.push(frames, np.arange(26) / FPS)
    expected = stream.video().features
    torch.testing.assert_close(video.features[video.mask], expected[video.mask], atol=1e-4, rtol=1e-4)


def test_frames_that_the_model_refuses_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    model = tiny_clip_model()
    frames = np.random.default_rng(0).integers(0, 256, (26, SIZE, SIZE, 3), np.uint8)
    seconds = np.arange(26) / FPS
    stream = VideoStream(model)
    stream.push(frames[:5], seconds[:5])
    with pytest.raises(InputError, match=rf"must be {SIZE}×{SIZE}, as the frames before"):
        stream.push(np.zeros((1, SIZE + 8, SIZE, 3), np.uint8), 50.0)
    with monkeypatch.context() as patched:
        patched.setattr(type(model), "encode_frames", refuse)
        with pytest.raises(MemoryError):
            stream.push(frames[5:], seconds[5:] + 50)
    stream.push(frames[5:], seconds[5:])
    expected = video_until(model, frames, seconds, 26)
    video = stream.video()
    torch.testing.assert_close(video.features, expected.features, atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(video.times.seconds, expected.times.seconds)
    assert torch.equal(torch.as_tensor(video.indices), torch.as_tensor(expected.indices))


def test_a_stream_keeps_the_newest_time_steps() -> None:
    model = tiny_clip_model()
    stream = VideoStream(model, keep_seconds=4.0)
    for second in range(12):
        stream.push(np.zeros((FPS, SIZE, SIZE, 3), np.uint8), second + np.arange(FPS) / FPS)
        stream.scores()
        assert len(stream) <= 4 * FPS // TUBELET + 1
    assert stream.video().duration == pytest.approx(4.0, abs=TUBELET / FPS)


def test_a_published_model_keeps_its_clips(tmp_path: Path) -> None:
    model = tiny_clip_model(clip_frames=4, clip_stride=2)
    model.save_pretrained(tmp_path)
    loaded = VTN.from_pretrained(tmp_path)
    assert loaded.clip_grid == model.clip_grid
    frames = torch.randn(1, 3, 9, SIZE, SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.eval()(frames), model(frames))


def test_a_rate_may_be_a_fraction(data: Path, tmp_path: Path) -> None:
    assert config(data, tmp_path, "DATA.TARGET_FPS", 7.5).DATA.TARGET_FPS == 7.5
    whole = config(data, tmp_path, "DATA.TARGET_FPS", 30.0).DATA.TARGET_FPS
    assert (whole, type(whole)) == (30, int), "PySlowFast's type"


def test_frames_and_rate_must_be_known(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, "VTN.BACKBONE.NAME", "test_vit", "VTN.BACKBONE.ARGS", {"img_size": 32})
    model = build_seeded_model(cfg, World(), fetch_weights=False)
    with pytest.raises(
        ConfigError, match=r"(?s)DATA.NUM_FRAMES = 0: must be 1 or more.*DATA.SAMPLING_RATE = 0"
    ):
        adopt_frame_format(cfg, model)
