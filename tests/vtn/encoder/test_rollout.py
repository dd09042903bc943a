"""The roll-out of attention over layers equals the product of dense matrices of weights.

Shapes: B clips, T frames, M tokens per frame, L layers, S = T · M tokens.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.tiny_models import FEATURE_DIM, tiny
from vtn import VTN
from vtn.encoder.attention_reference import reference_weights
from vtn.encoder.rollout import attention_rollout


def dense_weights(model: VTN, features: Tensor, positions: Tensor, mask: Tensor) -> list[Tensor]:
    """Returns the weights (B, N, 1 + T, 1 + T) of each layer, computed with full matrices."""
    encoder = model.temporal_encoder
    token_mask = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
    found = []
    for layer, tokens in encoder.walk(features, model.cls_token, positions, mask):
        linears = layer.attention["self"]
        found.append(reference_weights(tokens, linears, layer.num_heads, layer.half_window, token_mask))
    return found


def random_input(T: int, *, masked: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns features (2, T, F), positions and mask (2, T)."""
    torch.manual_seed(T)
    features, positions = torch.randn(2, T, FEATURE_DIM), torch.arange(T).expand(2, -1) * 3
    mask = torch.ones(2, T, dtype=torch.bool)
    if masked:
        mask[1, T // 2 :] = False
        mask[0, 1] = False
    return features, positions, mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("T", [2, 5, 40])
@torch.no_grad()
def test_attention_of_cls_is_that_of_the_dense_reference(T: int, masked: bool) -> None:
    model = tiny(num_layers=3)
    features, positions, mask = random_input(T, masked=masked)
    dense = torch.stack([weights[:, :, 0] for weights in dense_weights(model, features, positions, mask)])
    attention = model.frame_attention(features, positions, mask)  # (L, B, N, T)
    torch.testing.assert_close(attention, dense[..., 1:], atol=1e-6, rtol=1e-5)
    # The frames and [CLS] itself have all of the weight, and no masked frame has any.
    torch.testing.assert_close(attention.sum(-1) + dense[..., 0], torch.ones(3, 2, 2))
    assert (attention * ~mask[:, None]).abs().max() == 0


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("T", [2, 5, 40])
@torch.no_grad()
def test_rollout_is_the_product_of_dense_matrices(T: int, masked: bool) -> None:
    model = tiny(num_layers=3)
    features, positions, mask = random_input(T, masked=masked)
    product = torch.eye(1 + T).expand(2, -1, -1)
    for weights in dense_weights(model, features, positions, mask):
        product = (weights.mean(1) + torch.eye(1 + T)) / 2 @ product
    found = attention_rollout(model.temporal_encoder, features, model.cls_token, positions, mask)
    torch.testing.assert_close(found, product[:, 0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    assert (found[:, 1:] * ~mask).abs().max() == 0


@torch.no_grad()
def test_rollout_sums_the_tokens_of_a_frame() -> None:
    """All tokens of the frames in the window are neighbours; the window of 2 has one frame on each side."""
    model = tiny(num_layers=2, attention_window=2, tokens=(2, 2), fusion="sequence")
    encoder = model.temporal_encoder
    T, M = 6, 4
    features = torch.randn(1, T, M, model.feature_dim)
    S = T * M
    frame = torch.arange(S) // M
    allowed = torch.ones(1 + S, 1 + S, dtype=torch.bool)
    allowed[1:, 1:] = (frame[:, None] - frame).abs() <= 1
    product = torch.eye(1 + S)
    for layer, tokens in encoder.walk(features, model.cls_token, None, None):
        every = reference_weights(
            *(tokens, layer.attention["self"], layer.num_heads, S, torch.ones(1, 1 + S, dtype=torch.bool))
        )[0]
        near = every * allowed
        near = near / near.sum(-1, keepdim=True)  # softmax over the allowed tokens alone
        near[:, 0] = every[:, 0]
        product = (near.mean(0) + torch.eye(1 + S)) / 2 @ product
    found = attention_rollout(encoder, features, model.cls_token, None, None)[0]
    torch.testing.assert_close(found[0], product[0, 0])
    torch.testing.assert_close(found[1:], product[0, 1:].unflatten(0, (T, M)).sum(1), atol=1e-6, rtol=1e-5)
