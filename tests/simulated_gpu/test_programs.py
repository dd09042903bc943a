"""Encoders, streams, predictors and explanations of models work on a GPU as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.datasets.clip import Normalization
from slowfast.models.capabilities import EncodingSetup
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding
from tests.support.clips.backbone import SIZE as CLIP_SIZE
from tests.support.clips.backbone import tiny_clip_model
from tests.support.tiny_models import SIZE, publish_tiny, tiny, tiny_average, tiny_probe
from tests.support.tiny_models import video_features as random_video
from vtn import VTN, Predictor
from vtn.explaining.explain import measure_influence, score_prefixes
from vtn.explaining.faithfulness import measure_faithfulness
from vtn.explaining.frame_scorer import FrameScorer
from vtn.explaining.regions.build import find_regions
from vtn.inference.stream import VideoStream
from vtn.inference.windows import score_video, score_windows

CPU = torch.device("cpu")
MODELS: dict[str, Callable[[], Any]] = {
    "VTN": tiny,
    "standardized": lambda: tiny(input_standardize=True, input_differences=True, head_skip=True),
    "average": tiny_average,
    "probe": tiny_probe,
}


def assert_same(values: list[Any], expected: list[Any]) -> None:
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=1e-4, rtol=1e-4)


def frames(T: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (T, size, size, 3), generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_frames_are_encoded(gpu: torch.device, channels: str) -> None:
    found = []
    for place in (CPU, gpu):
        model = VTN("test_resnet", pretrained=False, hidden_dim=32, num_heads=2).to(place).eval()
        torch.manual_seed(0)
        model.load_state_dict({k: torch.rand(v.shape).to(v.dtype) for k, v in model.state_dict().items()})
        encoder = FrameEncoder(
            model, Normalization(model.frame_mean, model.frame_std), place, channels=channels
        )
        plain = encoder.encode(frames(5, 32)).cpu()
        setup = choose_encoding(model, EncodingRequest("float32", "off"), (32, 32), place)
        assert setup == EncodingSetup(fold=True)
        assert_same([encoder.encode(frames(5, 32)).cpu()], [plain])
        found.append([plain])
    assert_same(*found)


@pytest.mark.parametrize("gpu", ["cuda", "mps"], indirect=True)
@pytest.mark.parametrize("kind", ["frames", "clips"])
def test_streams_are_scored(gpu: torch.device, kind: str) -> None:
    found = []
    for place in (CPU, gpu):
        model = (tiny() if kind == "frames" else tiny_clip_model()).to(place)
        stream = VideoStream(model, keep_seconds=3.0)
        shown = frames(20, SIZE if kind == "frames" else CLIP_SIZE)
        for start in range(0, 20, 4):
            stream.push(shown[start : start + 4], np.arange(start, start + 4) / 5)
        features = torch.zeros(2, *model.feature_shape)
        scores = [stream.scores(), stream.scores(last_seconds=1.0)]
        stream.push_features(features, [8.0, 9.0])  # of the CPU
        found.append([*scores, stream.scores(), len(stream)])
    assert_same(*found)


@pytest.mark.parametrize("gpu", ["cuda", "mps"], indirect=True)
@pytest.mark.parametrize("name", MODELS)
def test_videos_are_scored_and_explained(gpu: torch.device, name: str) -> None:
    found = []
    lost = torch.tensor([True] * 5 + [False] + [True] * 4)
    video = replace(random_video(10), mask=lost)
    rows = np.array([4, 1])
    for place in (CPU, gpu):
        model = MODELS[name]().to(place)
        timeline = score_windows(model, video, 1.0, 0.5)
        scorer = FrameScorer.of_video(model, video)
        influence = measure_influence(scorer, 2)
        encoder = FrameEncoder(model, Normalization(model.frame_mean, model.frame_std), place)
        regions = find_regions(encoder, scorer, frames(2, SIZE).numpy(), rows, influence.slope)
        curves = measure_faithfulness(scorer, 2, {"occlusion": influence.occlusion.evidence})
        found.append(
            [
                *(score_video(model, video), timeline.scores, influence.occlusion.evidence),
                *(influence.gradient, score_prefixes(scorer).scores, *regions.maps.values()),
                *([] if influence.attention is None else [influence.attention.layers]),
                len(str(curves)) > 0,
            ]
        )
    assert_same(*found)


@pytest.mark.parametrize("gpu", ["cuda", "mps"], indirect=True)
def test_a_predictor_uses_the_gpu(gpu: torch.device, small_dataset: Path, tmp_path: Path) -> None:
    folder = publish_tiny(tmp_path)
    video = next(small_dataset.rglob("*.mp4"))
    on_cpu, on_gpu = Predictor(folder, device="cpu"), Predictor(folder)
    assert next(on_gpu.model.parameters()).device == gpu
    found = []
    for predictor in (on_cpu, on_gpu):
        whole = predictor(video)
        windows = predictor(video, window_seconds=0.5)
        assert windows.timeline is not None
        (streamed,) = predictor.stream([video])
        found.append([whole.scores, windows.scores, windows.timeline.scores, streamed.scores])
    assert_same(*found)
