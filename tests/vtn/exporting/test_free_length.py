"""The graph of an encoder: one for any number of clips and frames, at linear cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import vtn
from tests.support.tiny_models import tiny, tiny_average, tiny_probe
from vtn.exporting.comparison import compare
from vtn.exporting.parts import Part, build_parts
from vtn.exporting.writing import trace
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


def encoder_of(model: Any) -> tuple[Part, Any]:
    """Returns the part of a model from features to logits, and its graph."""
    evaluation = vtn.create_model("QUICKSTART", pretrained=False).evaluation
    model.evaluation = {**evaluation, "MODEL.HEAD_ACT": "none"}
    (part,) = build_parts(model, ("encoder",), source="model")
    return part, trace(part).module()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_one_graph_serves_all_lengths(name: str) -> None:
    part, graph = encoder_of(MODELS[name]())
    for row in compare(part, graph, [1, 2, 16, 250]):
        assert row.difference is not None
        assert row.difference < 1e-5
    scores = part.module(*part.make_inputs())
    assert scores.std() > 0.01, "a result without differences proves nothing"


def test_masked_frames_have_no_influence() -> None:
    part, graph = encoder_of(tiny(num_layers=1))
    features, positions, mask = part.make_inputs(2, 60)
    changed = torch.where(mask[..., None], features, float("nan"))
    assert torch.equal(graph(features, positions, mask), graph(changed, positions, mask))


def test_cost_is_linear_in_the_number_of_frames() -> None:
    """Four times the frames: four times the products, where full attention has sixteen times as many."""
    part, graph = encoder_of(tiny(attention_window=32, num_layers=1))
    counts = {}
    for T in (1024, 4096):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            graph(*part.make_inputs(1, T))
        counts[T] = counter.get_total_flops()
    assert counts[4096] == pytest.approx(4 * counts[1024], rel=0.05)


def test_the_eager_path_still_checks_values() -> None:
    """Checks of values are left out of the graph alone."""
    model = tiny(num_layers=1)
    part, _ = encoder_of(model)
    features, positions, mask = part.make_inputs(2, 6)
    with pytest.raises(ValueError, match="positions contain -1"):
        model.classify(features, positions - 1, mask)
    with pytest.raises(ValueError, match=r"clips \[0, 1\] of the batch have no real frame"):
        model.classify(features, positions, mask & False)
