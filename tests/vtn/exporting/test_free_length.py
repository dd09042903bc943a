"""Models under ``torch.export``: one graph for any number of clips and frames, at linear cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils.flop_counter import FlopCounterMode

from tests.support.tiny_models import tiny, tiny_average, tiny_probe
from vtn.frame_model import FrameModel

_SIDE_32 = {"image_size": 32, "width": 4, "feature_dim": 24}
MODELS: dict[str, Callable[[], FrameModel]] = {
    "learned positions": tiny,
    "sinusoidal positions": lambda: tiny(position="sinusoidal", num_layers=1),
    "all parts for small data": lambda: tiny(
        num_layers=1,
        input_standardize=True,
        input_differences=True,
        head_skip=True,
        head_pooling="cls+mean+std",
    ),
    "all tokens in the sequence": lambda: tiny(
        fusion="sequence", tokens=(2, 1), num_layers=1, backbone_args=_SIDE_32
    ),
    "tokens side by side": lambda: tiny(fusion="concat", tokens=(2, 2), num_layers=1, backbone_args=_SIDE_32),
    "tokens attended to": lambda: tiny(fusion="attend", tokens=(2, 2), num_layers=1, backbone_args=_SIDE_32),
    "frame average": tiny_average,
    "attentive probe": lambda: tiny_probe(tokens=(2, 2), backbone_args=_SIDE_32),
}


class _Classify(nn.Module):
    def __init__(self, model: FrameModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        return self.model.classify(features, positions, mask)


def inputs(model: FrameModel, B: int, T: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns features, positions with gaps, and a mask; the last frames of the last clip are not real."""
    features = torch.randn(B, T, *model.feature_shape, generator=torch.Generator().manual_seed(T))
    positions = torch.arange(T).expand(B, -1) * 3 + (torch.arange(T) > T // 2)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[-1, T - T // 3 :] = False
    return features, positions, mask


def trace(model: FrameModel, T: int = 70) -> ExportedProgram:
    batch, frames = Dim("batch", min=1), Dim("frames", min=1)
    return torch.export.export(
        _Classify(model), inputs(model, 3, T), dynamic_shapes=({0: batch, 1: frames},) * 3
    )


@pytest.mark.parametrize("name", MODELS)
def test_one_graph_serves_all_lengths(name: str) -> None:
    model = MODELS[name]()
    graph = trace(model).module()
    for B, T in ((1, 1), (2, 1), (3, 2), (1, 16), (2, 250)):
        arguments = inputs(model, B, T)
        with torch.no_grad():
            expected = model.classify(*arguments)
            torch.testing.assert_close(graph(*arguments), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.01, "a result without differences proves nothing"


def test_masked_frames_have_no_influence() -> None:
    model = tiny(num_layers=1)
    graph = trace(model).module()
    features, positions, mask = inputs(model, 2, 60)
    changed = torch.where(mask[..., None], features, float("nan"))
    assert torch.equal(graph(features, positions, mask), graph(changed, positions, mask))


def test_cost_is_linear_in_the_number_of_frames() -> None:
    """Four times the frames: four times the products, where full attention has sixteen times as many."""
    model = tiny(attention_window=32, num_layers=1)
    graph = trace(model).module()
    counts = {}
    for T in (1024, 4096):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            graph(*inputs(model, 1, T))
        counts[T] = counter.get_total_flops()
    assert counts[4096] == pytest.approx(4 * counts[1024], rel=0.05)


def test_the_eager_path_still_checks_values() -> None:
    """Checks of values are left out of the graph alone."""
    model = tiny(num_layers=1)
    features, positions, mask = inputs(model, 2, 6)
    trace(model)
    with pytest.raises(ValueError, match="positions contain -1"):
        model.classify(features, positions - 1, mask)
    with pytest.raises(ValueError, match=r"clips \[0, 1\] of the batch have no real frame"):
        model.classify(features, positions, mask & False)
