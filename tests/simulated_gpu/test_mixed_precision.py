"""Under autocast of CUDA, whose lists of operations are not those of the CPU, no dtypes are mixed.

Torch's fake tensors have a device and a dtype, but no values: they go forward only.

B clips, T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.support.tiny_models import SIZE, tiny, tiny_average

TOKENS: dict[str, Any] = {
    "tokens": (2, 2), "backbone_args": {"image_size": 2 * SIZE, "width": 4, "feature_dim": 24},
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "VTN": tiny,
    "all parts": lambda: tiny(
        input_standardize=True,
        input_differences=True,
        head_skip=True,
        head_pooling="cls+mean+std",
        frozen=True,
    ),
    "tokens in sequence": lambda: tiny(fusion="sequence", **TOKENS),
    "tokens attended to": lambda: tiny(fusion="attend", **TOKENS),
    "average": tiny_average,
}


def fills_fake_tensors() -> bool:
    """Returns whether torch fills tensors of a GPU without values; 2.9 asks the driver for a GPU."""
    try:
        with FakeTensorMode():
            torch.empty(1, device="cuda").uniform_()
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not fills_fake_tensors(), reason="this torch needs a GPU to fill tensors without values")
@pytest.mark.parametrize(("dtype", "trains"), [(torch.float16, False), (torch.bfloat16, True)])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_computed_in_16_bits(
    name: str, dtype: torch.dtype, trains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for module in ("vtn.model", "vtn.frame_average"):  # asks for values
        monkeypatch.setattr(f"{module}.check_state", lambda *_: None)
    with FakeTensorMode(), torch.device("cuda", 0):
        model = MODELS[name]().train(trains)
        frames = torch.randn(2, 3, 6, model.frame_size, model.frame_size)
        features = torch.randn(2, 6, *model.feature_shape)
        positions, mask = torch.arange(6).repeat(2, 1), torch.ones(2, 6, dtype=torch.bool)
        with torch.autocast("cuda", dtype), torch.set_grad_enabled(trains):
            logits = [model(frames, positions), model.classify(features, positions, mask)]
    assert {(value.dtype, value.device) for value in logits} == {(dtype, torch.device("cuda", 0))}
