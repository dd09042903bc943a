"""Several tokens per frame in the temporal encoder equal plain references.

B clips, T frames, M tokens, F width of a token, D width, Q queries.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.tiny_models import TINY, tiny_average, with_large_weights
from vtn import VTN, FrameAverage
from vtn.encoder import encoder_layer, temporal_encoder
from vtn.encoder.attention import band_attention
from vtn.encoder.fusion import AttendTokens, ConcatTokens

FEATURE_DIM = 24


def model(kind: str, rows: int = 2, columns: int = 2, **changes: Any) -> VTN:
    """Returns a VTN for features (B, T, rows · columns, 24)."""
    options = {**TINY, "backbone_args": {"feature_dim": FEATURE_DIM}, "position": "sinusoidal"}
    tokens = {"tokens": (rows, columns), "fusion_kind": kind}
    return with_large_weights(VTN("precomputed", **{**options, **tokens, **changes}))


def random_tokens(T: int, M: int, B: int = 2) -> Tensor:
    return torch.randn(B, T, M, FEATURE_DIM, generator=torch.Generator().manual_seed(T))


@torch.no_grad()
def test_concat_is_one_linear_layer_with_the_results_side_by_side() -> None:
    fusion = ConcatTokens(5, 4, 3)
    tokens = torch.randn(2, 6, 4, 5)
    expected = torch.cat([fusion.project(tokens[:, :, i]) for i in range(4)], dim=-1)
    torch.testing.assert_close(fusion(tokens), expected)
    assert fusion.width == 12


@torch.no_grad()
def test_attend_is_softmax_attention_over_the_tokens_of_each_frame() -> None:
    fusion = AttendTokens(5, 4, 3, num_queries=2)
    tokens = torch.randn(2, 6, 4, 5)
    for b in range(2):
        for t in range(6):
            values = fusion.project(tokens[b, t])
            weights = (fusion.queries @ (values + fusion.positions).T / 3**0.5).softmax(-1)
            torch.testing.assert_close(fusion(tokens)[b, t], (weights @ values).flatten())


@pytest.mark.parametrize(("kind", "M", "width"), [("concat", 9, 4), ("concat", 4, 8), ("attend", 4, 32)])
def test_width_0_follows_from_the_width_of_the_encoder(kind: str, M: int, width: int) -> None:
    side = int(M**0.5)
    fusion: Any = model(kind, side, side).temporal_encoder.fusion
    assert fusion.project.out_features == width  # 32 / 9 is rounded to 4
    assert model(kind, side, side, fusion_dim=6).temporal_encoder.fusion.project.out_features == 6


def dense_band(
    query: Tensor, key: Tensor, value: Tensor, cls: tuple[Tensor, Tensor], half: int, M: int
) -> Tensor:
    """Returns band attention (B, S, D) of inputs (B, S, N, E) with an S × (1 + S) matrix."""
    key, value = (torch.cat([c[:, None], x], dim=1) for c, x in zip(cls, (key, value), strict=True))
    frame = torch.arange(query.shape[1]) // M
    near = (frame[:, None] - frame).abs() <= half
    near = torch.cat([torch.ones(len(frame), 1, dtype=torch.bool), near], dim=1)
    scores = torch.einsum("bine,bjne->bnij", query, key) / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~near, float("-inf")).softmax(-1)
    return torch.einsum("bnij,bjne->bine", weights, value).flatten(2)


@given(T=st.integers(1, 40), M=st.integers(1, 7), half=st.integers(1, 12))
@settings(max_examples=40)
def test_the_window_counts_frames(T: int, M: int, half: int) -> None:
    generator = torch.Generator().manual_seed(T)
    query, key, value = torch.randn(3, 2, T * M, 2, 4, generator=generator, dtype=torch.float64)
    cls = torch.randn(2, 2, 2, 4, generator=generator, dtype=torch.float64)
    found = band_attention(query, key, value, cls[0], cls[1], half_window=half, tokens_per_frame=M)
    torch.testing.assert_close(found, dense_band(query, key, value, (cls[0], cls[1]), half, M))


@pytest.mark.parametrize("kind", ["concat", "attend", "sequence"])
@torch.no_grad()
def test_masked_frames_have_no_influence(kind: str) -> None:
    vtn = model(kind)
    tokens = random_tokens(9, 4)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[0, 6:] = mask[1, 2] = False
    expected = vtn.classify(tokens[:1, :6])
    padded = tokens.masked_fill(~mask[..., None, None], float("nan"))
    logits = vtn.classify(padded, torch.arange(9).expand(2, -1), mask)
    torch.testing.assert_close(logits[:1], expected)
    attention = vtn.frame_attention(padded, None, mask)
    assert (attention[:, 0, :, 6:] == 0).all()
    assert (attention[:, 1, :, 2] == 0).all()


@pytest.mark.parametrize("kind", ["concat", "attend", "sequence"])
@torch.no_grad()
def test_long_videos_in_chunks_equal_the_computation_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vtn = model(kind, 3, 1, num_layers=3)
    tokens = random_tokens(150, 3)
    mask = torch.rand(2, 150, generator=torch.Generator().manual_seed(0)) < 0.8
    expected = vtn.classify(tokens, None, mask)
    for chunk in (7, 32):
        monkeypatch.setattr(encoder_layer, "CHUNK", chunk)
        monkeypatch.setattr(temporal_encoder, "CHUNK", chunk)
        torch.testing.assert_close(vtn.classify(tokens, None, mask), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["concat", "attend", "sequence"])
def test_every_parameter_learns(kind: str) -> None:
    vtn = model(kind).train()
    vtn.classify(random_tokens(5, 4)).sum().backward()
    missing = [name for name, weight in vtn.named_parameters() if weight.grad is None]
    assert missing == []


@torch.no_grad()
def test_attention_of_a_sequence_is_by_frame_and_token() -> None:
    vtn = model("sequence", 2, 3)
    attention = vtn.frame_attention(random_tokens(5, 6))
    assert attention.shape == (2, 2, 2, 5, 6)  # (L, B, N, T, M)
    assert (attention.sum((3, 4)) < 1).all()  # [CLS] has the rest
    assert model("concat", 2, 3).frame_attention(random_tokens(5, 6)).shape == (2, 2, 2, 5)


@torch.no_grad()
def test_places_of_tokens_matter_in_every_form() -> None:
    for kind in ("concat", "attend", "sequence"):
        vtn = model(kind)
        tokens = random_tokens(5, 4)
        assert not torch.allclose(vtn.classify(tokens), vtn.classify(tokens.flip(2)), atol=1e-4), kind


@torch.no_grad()
def test_the_average_of_frames_is_of_their_fused_tokens() -> None:
    options = {
        "num_classes": 5,
        "mlp_dim": 16,
        "backbone_args": {"feature_dim": FEATURE_DIM},
        "tokens": (2, 2),
    }
    average: Any = with_large_weights(FrameAverage("precomputed", **options, fusion_dim=6))
    tokens = random_tokens(7, 4)
    fused = torch.stack([average.fusion(tokens[:, t : t + 1])[:, 0] for t in range(7)])
    torch.testing.assert_close(average.classify(tokens), average.mlp_head(fused.mean(0)))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[:, 5:] = False
    padded = tokens.masked_fill(~mask[..., None, None], float("nan"))
    torch.testing.assert_close(average.classify(padded, None, mask), average.mlp_head(fused[:5].mean(0)))


def test_fusion_has_no_effect_on_one_token() -> None:
    states = []
    for kind in ("concat", "attend", "sequence"):
        torch.manual_seed(0)
        states.append(VTN("shallow_conv", **TINY, fusion=kind).state_dict())
    assert all(torch.equal(states[0][name], other[name]) for other in states for name in states[0])
    assert not any("fusion" in name or "spatial" in name for name in states[0])


def test_one_token_has_a_bottleneck_of_the_given_width() -> None:
    vtn: Any = model("concat", 1, 1, fusion_dim=6)
    features = torch.randn(2, 5, FEATURE_DIM)
    with torch.no_grad():
        narrow = vtn.temporal_encoder.fusion.project(features)  # (2, 5, 6)
        without = model("concat", 1, 1, backbone_args={"feature_dim": 6})
        weights = {k: v for k, v in vtn.state_dict().items() if "fusion" not in k}
        without.load_state_dict(weights)
        torch.testing.assert_close(vtn.classify(features), without.classify(narrow))
    average: Any = FrameAverage(
        "precomputed", backbone_args={"feature_dim": FEATURE_DIM}, num_classes=5, fusion_dim=6
    )
    assert average.classify(features).shape == (2, 5)
    assert average.fusion.project.out_features == 6
    for kind in ("attend", "sequence"):
        assert model(kind, 1, 1, fusion_dim=6).temporal_encoder.fusion is None


def test_masked_frames_have_no_influence_on_the_bottleneck_of_one_token() -> None:
    model = tiny_average(fusion_dim=8)
    features = torch.randn(2, 6, *model.feature_shape, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    logits = model.classify(features.masked_fill(~mask[..., None], torch.nan), mask=mask)
    torch.testing.assert_close(logits[1:], model.classify(features[1:, :4]))
