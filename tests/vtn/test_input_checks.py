"""Input that a model refuses, and the messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.errors import InputError, NotFiniteError
from tests.support.processes import run_forked
from tests.support.tiny_models import TINY, random_clips, random_features, tiny, tiny_average, tiny_probe
from vtn import VTN
from vtn.frame_model import FrameModel


def with_value(x: Tensor, index: tuple[int, ...], value: float) -> Tensor:
    x = x.clone()
    x[index] = value
    return x


def test_a_compiled_model_refuses_the_same_values() -> None:
    def refuse() -> None:
        compiled = torch.compile(tiny(num_layers=1).eval().classify, backend="aot_eager", fullgraph=True)
        with pytest.raises(RuntimeError, match="positions: must be 0 or more"):
            compiled(random_features(), positions=torch.full((2, 6), -1))
        with pytest.raises(RuntimeError, match="mask: a clip has no real frame"):
            compiled(random_features(), mask=torch.tensor([[True] * 6, [False] * 6]))

    assert run_forked(refuse) == 0  # a process that has compiled cannot be forked any more


def test_a_mask_is_compiled_without_the_number_of_its_real_frames() -> None:
    def compile_whole() -> None:
        model, mask = tiny().eval(), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
        with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
            compiled = torch.compile(model.encode_frames, backend="eager")
            torch.testing.assert_close(
                compiled(random_clips(), mask), model.encode_frames(random_clips(), mask)
            )

    assert run_forked(compile_whole) == 0


def test_a_model_is_compiled_for_any_number_of_frames() -> None:
    """One graph for the first number, one for clips of a block of the attention, one for longer ones."""

    def compile_lengths() -> None:
        graphs: list[Any] = []

        def count(graph: Any, inputs: Any) -> Any:
            graphs.append(graph)
            return graph.forward

        compiled = torch.compile(tiny(attention_window=18).train(), backend=count)
        for num_frames in (6, 8, 9, 17, 32, 33, 65, 95):
            compiled(random_clips(T=num_frames))
        assert len(graphs) == 3

    assert run_forked(compile_lengths) == 0


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((random_features(0),), "no frames"),
        ((random_features().numpy(),), "features: is of type ndarray, must be a torch.Tensor"),
        ((random_features(), [[0] * 6] * 2), "positions: is of type list, must be a torch.Tensor"),
        ((random_features()[..., :7],), "features have shape (2, 6, 7): must be (clips, frames, 24)"),
        ((random_features()[0],), "features have shape (6, 24): must be (clips, frames, 24)"),
        ((random_features().long(),), "features have dtype torch.int64: must be a float dtype"),
        ((with_value(random_features(), (1, 3), float("nan")),), "first in frame 3 of clip 1"),
        ((with_value(random_features(), (0, 5, 2), float("inf")),), "first in frame 5 of clip 0"),
        ((random_features(), torch.zeros(2, 6)), "must be an integer dtype"),
        ((random_features(), torch.zeros(2, 6, dtype=torch.bool)), "must be an integer dtype"),
        ((random_features(), torch.arange(6)), "positions: has shape (6,), must be (2, 6)"),
        ((random_features(), torch.full((2, 6), -1)), "positions contain -1: must be 0 or more"),
        ((random_features(), None, torch.ones(2, 6)), "mask has dtype torch.float32: must be torch.bool"),
        ((random_features(), None, torch.ones(2, 5) > 0), "mask: has shape (2, 5), must be (2, 6)"),
        ((random_features(), None, torch.tensor([[True] * 6, [False] * 6])), "clips [1] of the batch"),
    ],
)  # fmt: skip
def test_features_with_errors_are_refused(
    build: Callable[[], FrameModel], arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build().classify(*arguments)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(2, 3, 0, 16, 16), "no frames"),
        ([torch.zeros(2, 3, 4, 16, 16)], "frames: is of type list, must be a torch.Tensor"),
        (torch.zeros(2, 3, 4, 16, 16, dtype=torch.uint8), "normalise them first"),
        (torch.zeros(2, 4, 3, 16, 16), "must be (clips, 3, frames, height, width)"),
        (torch.zeros(3, 4, 16, 16), "must be (clips, 3, frames, height, width)"),
        (torch.zeros(1, 3, 2, 20, 16), "images have 20×16 pixels: must be 16×16"),
    ],
)
def test_frames_with_errors_are_refused(frames: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        tiny()(frames)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[True] * 4] * 2, "mask: is of type list, must be a torch.Tensor"),
        (torch.ones(2, 3, dtype=torch.bool), "mask: has shape (2, 3), must be (2, 4) like the frames"),
        (torch.ones(2, 4), "mask has dtype torch.float32: must be torch.bool"),
    ],
)
@pytest.mark.parametrize("method", ["forward", "encode_frames"])
def test_masks_of_frames_with_errors_are_refused(method: str, mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        getattr(tiny(), method)(torch.zeros(2, 3, 4, 16, 16), mask=mask)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.int8, 16])
def test_what_is_not_a_float_dtype_is_refused(dtype: Any) -> None:
    with pytest.raises(InputError, match="must be None or a float dtype"):
        tiny().prepare_inference(dtype)


def test_a_masked_frame_is_not_named_as_the_one_that_is_not_finite() -> None:
    features = with_value(with_value(random_features(), (0, 2), float("nan")), (1, 3), float("nan"))
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[0, 2] = False
    with pytest.raises(NotFiniteError, match=r"in 1 frames, first in frame 3 of clip 1"):
        tiny().classify(features, mask=mask)


def test_frames_that_are_all_masked() -> None:
    """Backbones that reshape to (N, -1, F) failed on no images."""
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    assert not tiny().encode_frames(torch.ones(2, 3, 4, 16, 16), nothing).any()
    with pytest.raises(InputError, match=r"mask: clips \[0, 1\] of the batch have no real frame"):
        tiny()(torch.ones(2, 3, 4, 16, 16), mask=nothing)


def test_weights_that_are_not_finite_are_reported() -> None:
    model = tiny()
    nn.init.constant_(model.cls_token, float("nan"))
    with pytest.raises(InputError, match="check whether its weights are finite"):
        model.classify(random_features())


@pytest.mark.parametrize("build", [tiny, tiny_average, tiny_probe])
def test_training_returns_results_that_are_not_finite(build: Callable[[], FrameModel]) -> None:
    """The loss is then not finite and the step is skipped; only evaluation raises, and names the clips."""
    features = with_value(random_features(), (1, 3), float("nan"))
    logits = build().train().classify(features)
    assert logits.isfinite().all(dim=1).tolist() == [True, False]
    with pytest.raises(NotFiniteError) as caught:
        build().classify(features)
    assert caught.value.clips == (1,)


@pytest.mark.parametrize(
    ("change", "returned"),
    [
        (lambda found: found, r"a tensor of shape \(12, 24, 14, 14\)"),
        (lambda found: (found, found), "a value of type tuple"),
        (lambda found: found.mean((2, 3)).detach().numpy(), "a value of type ndarray"),
    ],
)
def test_a_backbone_that_returns_no_features_is_refused(change: Any, returned: str) -> None:
    backbone = nn.Conv2d(3, 24, 3)
    backbone.feature_dim = 24
    backbone.register_forward_hook(lambda module, given, found: change(found))
    arguments = {name: value for name, value in TINY.items() if name != "backbone_args"}
    with pytest.raises(InputError, match=rf"returned {returned} .* tensor of shape \(12, 24\), one row per"):
        VTN(backbone, **arguments)(random_clips())
