"""Measurements of collapsed states and even attention."""

from __future__ import annotations

import pytest
import torch

from slowfast.models.capabilities import DescribesStates
from tests.support.tiny_models import random_features, tiny, tiny_average
from vtn.head.diagnosis import attention_evenness, spread_between_clips


def test_the_spread_is_that_of_independent_equal_and_shifted_states() -> None:
    states = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    assert spread_between_clips(states) == pytest.approx(1.0, abs=0.02)
    assert spread_between_clips(states[:1].expand(5, 64)) == 0.0
    assert spread_between_clips(states + 100.0) == pytest.approx(0.01, rel=0.05)


def test_the_evenness_of_attention_is_the_entropy_over_real_frames() -> None:
    even = torch.full((2, 3, 4, 8), 0.1)  # [CLS] has the remaining 0.2
    assert attention_evenness(even, None) == pytest.approx(1.0)
    single = torch.zeros(2, 3, 4, 8)
    single[..., 5] = 0.9
    assert attention_evenness(single, None) == pytest.approx(0.0, abs=1e-6)
    mask = torch.arange(8) < torch.tensor([2, 4, 8])[:, None]
    half = torch.where(mask[None, :, None], 0.5, 0.0).expand(2, 3, 4, 8)
    assert attention_evenness(half, mask) == pytest.approx(1.0)
    assert attention_evenness(torch.ones(1, 2, 1, 1), None) == 1.0
    one_frame = torch.tensor([[True] + [False] * 7, [True] * 8, [True] * 8])
    assert attention_evenness(single, one_frame) == pytest.approx(1 / 3, abs=1e-6)


def test_tokens_are_counted_like_frames() -> None:
    assert attention_evenness(torch.full((2, 3, 4, 8, 9), 0.01), None) == pytest.approx(1.0)
    one_token = torch.zeros(2, 3, 4, 8, 4)
    one_token[..., 2] = 0.1  # even over the frames
    assert attention_evenness(one_token, None) == pytest.approx(3 / 5)  # log 8 of log 32
    assert attention_evenness(one_token[:, :, :, :1], None) == pytest.approx(0.0)


@pytest.mark.parametrize("tokens", [1, 4])
def test_a_vtn_describes_its_states(tokens: int) -> None:
    model = tiny() if tokens == 1 else tiny(tokens=(2, 2), fusion="sequence")
    assert isinstance(model, DescribesStates)
    features = random_features() if tokens == 1 else torch.randn(2, 6, tokens, model.feature_dim)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    differing, attention = model.describe_states(features, None, mask)
    assert "states of [CLS] by " in differing
    assert 0 < float(attention.split()[4]) <= 1
    same = model.describe_states(features[:1].repeat(2, *[1] * (features.ndim - 1)))[0]
    assert "differ by 0 of their norm, the states of [CLS] by 0" in same


def test_a_model_without_states_is_not_measured() -> None:
    assert not isinstance(tiny_average(), DescribesStates)


def test_masked_frames_do_not_change_the_description() -> None:
    features, mask = random_features(), torch.ones(2, 6, dtype=torch.bool)
    mask[1, 3:] = False
    lost = features.masked_fill(~mask[..., None], float("nan"))
    torch.manual_seed(0)
    model = tiny().eval()
    assert model.describe_states(lost, None, mask) == model.describe_states(features, None, mask)
