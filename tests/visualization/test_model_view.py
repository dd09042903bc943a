"""Figures of a model's frames and attention, read back from TensorBoard's event files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.config.check import check
from slowfast.datasets.clip import Clip
from slowfast.engine.run import run
from slowfast.tracking.figure_text import as_figure_text
from slowfast.visualization.model_view import draw_model_view, look_at
from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN, tiny, tiny_average
from tests.support.tracking.readers import read_images

VIS = "TENSORBOARD.MODEL_VIS."
SWITCHES = ("SOLVER.MAX_EPOCH", 1, "TENSORBOARD.ENABLE", True, f"{VIS}ENABLE", True, f"{VIS}MAX_VIDEOS", 2)
PLAIN = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_run_shows_frames_and_attention(colour_videos: Path, tmp_path: Path) -> None:
    changes = (*SMALL_VTN, "TEST.ENABLE", True, *SWITCHES, f"{VIS}INPUT_VIDEO", True)
    assert run(tiny_config(colour_videos, tmp_path, *changes)) == 0
    first, second = read_images(tmp_path / "runs-kinetics")["Model Visualization"]
    # The first test video is red, the second one green.
    for number, figure in enumerate((first, second)):
        pixels = np.asarray(figure.convert("RGB")).astype(int)
        others = [channel for channel in range(3) if channel != number]
        coloured = (pixels[..., number] - pixels[..., others].max(axis=-1)) > 60
        assert coloured.mean() > 0.02


def test_a_model_without_attention_shows_its_frames_where_asked(
    colour_videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tiny_config(colour_videos, tmp_path / "a", *SWITCHES)) == 0
    assert "Tiny has no attention to frames" in caplog.text
    assert read_images(tmp_path / "a" / "runs-kinetics") == {}
    assert run(tiny_config(colour_videos, tmp_path / "b", *SWITCHES, f"{VIS}INPUT_VIDEO", True)) == 0
    assert len(read_images(tmp_path / "b" / "runs-kinetics")["Model Visualization"]) == 2


def test_attention_and_scores_are_those_of_the_model() -> None:
    frames = torch.randint(0, 256, (3, 6, 16, 16), dtype=torch.uint8)
    clip = Clip(frames, torch.arange(6) * 2, 0, 0)
    inputs = ((frames[None].float() / 255 - 0.5) / 0.5, clip.positions[None])
    model = tiny().eval()
    logits, attention = look_at(model, clip, PLAIN, torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(logits, model(*inputs)[0])
        weights = model.frame_attention(model.encode_frames(inputs[0]), inputs[1])
    assert attention is not None
    np.testing.assert_allclose(attention, weights[:, 0].numpy(), atol=1e-6)
    assert look_at(tiny_average().eval(), clip, PLAIN, torch.device("cpu"))[1] is None


def test_each_head_has_a_row() -> None:
    attention = np.random.default_rng(0).random((2, 3, 5), np.float32)
    figure = draw_model_view("title", None, attention)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_array_equal(shown, attention.reshape(6, 5))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["layer 1", "layer 2"]


def test_tests_of_features_are_refused(colour_videos: Path, tmp_path: Path) -> None:
    changed = tiny_config(colour_videos, tmp_path, *SWITCHES).clone()
    changed.defrost()
    changed.DATA.FEATURES = str(tmp_path)
    assert any(problem.startswith(f"{VIS}ENABLE = True") for problem in check(changed, for_run=True))


@pytest.mark.parametrize("name", ["cost_$\\frac$.mp4", b"caf\xe9.mp4".decode(errors="surrogateescape")])
def test_a_title_is_text(name: str) -> None:
    figure = draw_model_view(f"{name}: a 0.100", np.zeros((4, 8, 8, 3), np.uint8), None)
    figure.savefig(io.BytesIO())
    assert figure.get_suptitle() == as_figure_text(f"{name}: a 0.100")
