"""The video processor: from files and frames in memory to the inputs of a model."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from transformers import AutoVideoProcessor

import vtn
from slowfast.errors import DecodeError, InputError
from tests.support.tiny_models import tiny
from vtn.transformers import VTNForVideoClassification, VTNVideoProcessor


@pytest.fixture(scope="module")
def processor(published: Path) -> VTNVideoProcessor:
    return AutoVideoProcessor.from_pretrained(published)


def test_videos_of_different_lengths_are_padded_and_masked(
    processor: VTNVideoProcessor, videos: dict[int, Path], published: Path
) -> None:
    inputs = processor([videos[1], videos[12], videos[70]])
    frames, mask = inputs["pixel_values_videos"], inputs["mask"]
    assert frames.shape[:3] == (3, mask.shape[1], 3)
    assert frames.dtype == torch.float32
    assert mask.sum(1).tolist() == sorted(mask.sum(1).tolist())
    model = VTNForVideoClassification.from_pretrained(published)
    with torch.no_grad():
        scores = model(**inputs).logits.softmax(-1).numpy()
    predictor = vtn.Predictor(published, device="cpu")
    expected = [predictor(video).scores for video in videos.values()]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_frames_and_open_files_are_videos(processor: VTNVideoProcessor, videos: dict[int, Path]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (7, 48, 64, 3), np.uint8)
    from_array = processor(frames)["pixel_values_videos"]
    assert torch.equal(processor(torch.from_numpy(frames))["pixel_values_videos"], from_array)
    from_path = processor(str(videos[12]))["pixel_values_videos"]
    with io.BytesIO(videos[12].read_bytes()) as file:
        assert torch.equal(processor(file)["pixel_values_videos"], from_path)


def test_frames_one_by_one_are_one_video(processor: VTNVideoProcessor) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (7, 48, 64, 3), np.uint8)
    expected = processor(frames)["pixel_values_videos"]
    images = [Image.fromarray(frame) for frame in frames]
    for video in (list(frames), list(torch.from_numpy(frames)), images):
        assert torch.equal(processor(video)["pixel_values_videos"], expected)
    assert torch.equal(processor([images, frames])["pixel_values_videos"], expected.repeat(2, 1, 1, 1, 1))
    with pytest.raises(InputError, match="frames of one video must have one size"):
        processor([frames[0], frames[1, :40]])


def test_every_frame_is_taken_without_sampling(processor: VTNVideoProcessor, videos: dict[int, Path]) -> None:
    inputs = processor(videos[70], do_sample_frames=False)
    assert inputs["positions"].tolist() == [[*range(70)]]


def test_pixels_are_normalised_crops(processor: VTNVideoProcessor) -> None:
    white = np.full((3, 40, 40, 3), 255, np.uint8)
    frames = processor(white, do_sample_frames=False)["pixel_values_videos"]
    assert frames.shape == (1, 3, 3, 32, 32)
    expected = (1 - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std)
    torch.testing.assert_close(frames.amax((0, 1, 3, 4)), expected)
    torch.testing.assert_close(frames.amin((0, 1, 3, 4)), expected)


def test_several_crops_are_views(publish_model: Callable[..., Path], videos: dict[int, Path]) -> None:
    inputs = AutoVideoProcessor.from_pretrained(publish_model("TEST.NUM_SPATIAL_CROPS", 3))(videos[70])
    assert inputs["pixel_values_videos"].shape[:2] == (1, 3)
    assert inputs["positions"].shape == (1, inputs["pixel_values_videos"].shape[2])


def test_more_frames_than_there_is_memory_for_are_an_error(
    processor: VTNVideoProcessor, videos: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Memory:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(InputError, match=r"70\.mp4: its \d+ frames need .* GiB are free; give num_frames"):
        processor(videos[70])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames = 0: must be 1 or more"),
        ({"fps": -1.0}, r"fps = -1\.0: must be above 0"),
        ({"return_tensors": "np"}, "return_tensors = 'np': must be pt"),
    ],
)
def test_unsuitable_options_are_refused(
    options: dict[str, Any], message: str, processor: VTNVideoProcessor, videos: dict[int, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        processor(videos[1], **options)


def test_files_that_are_not_videos_are_named(processor: VTNVideoProcessor, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("not a video")
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        processor(tmp_path / "broken.mp4")


def test_a_model_without_an_evaluation_is_refused(videos: dict[int, Path], tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    processor = AutoVideoProcessor.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not come with the sampling of its frames; publish it by"):
        processor(videos[1])
